"""What can be said of a source without reading it: are its files there, and have they the columns that are named?"""

from __future__ import annotations

from stages.errors import UserError
from stages.urls.batch import required_column
from stages.urls.damage import Damage
from stages.urls.files import filesystem, reading
from stages.urls.parts import find_files
from stages.urls.readers import PartRows
from stages.urls.selection import Selection
from stages.urls.spec import HumanSource, JsonSource, SourceSettings


def check(name: str, source: SourceSettings) -> None:
    """Check a source against its first file's header.

    Raises:
        UserError: a path matches nothing; the images' folder is not there; a column of `url`, `text`, `where` or `keep`
            is not there; `where` is no condition over the columns.
    """
    files = find_files(name, source)[0]
    with reading(files):
        rows = PartRows(source, files)
        for key in ("url", "text"):
            if candidates := getattr(source, f"{key}_names", None):
                required_column(rows.schema.names, candidates, key=f"{key}:", place=files[0])
        Selection(source, rows.schema, rows.types, Damage(files[-1]))
    if isinstance(source, HumanSource | JsonSource) and source.images_root is not None:
        _check_folder(name, source.images_root)


def _check_folder(name: str, root: str) -> None:
    files, inner = filesystem(root)
    if not files.isdir(inner):
        raise UserError(f"source {name}: there is no folder {root}; correct its `images`")
