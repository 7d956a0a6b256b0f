"""What can be said of a source without reading it: are its files there, and have they the columns that are named?"""

from __future__ import annotations

from stages.errors import UserError
from stages.urls.batch import required_column
from stages.urls.files import filesystem, reading
from stages.urls.parts import find_files
from stages.urls.readers import READERS
from stages.urls.selection import Selection
from stages.urls.spec import HumanSource, SourceSettings


def check(name: str, source: SourceSettings) -> None:
    """Check a source against its first file's header.

    Raises:
        UserError: a path matches nothing; the images' folder is not there; a column of `url`, `text`, `where` or `keep`
            is not there; `where` is no condition over the columns.
    """
    files = find_files(name, source)[0]
    with reading(files):
        schema = READERS[source.format].schema(source, files)
    for key in ("url", "text"):
        if candidates := getattr(source, f"{key}_names", None):
            required_column(schema.names, candidates, key=f"{key}:", place=files[0])
    Selection(source, schema, place=files[-1])
    if isinstance(source, HumanSource) and source.images_root is not None:
        _check_folder(name, source.images_root)


def _check_folder(name: str, root: str) -> None:
    files, inner = filesystem(root)
    if not files.isdir(inner):
        raise UserError(f"source {name}: there is no folder {root}; correct its `images`")
