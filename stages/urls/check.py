"""What can be said of a source without reading it: are its files there, and have they the columns that are named?"""

from __future__ import annotations

from collections.abc import Sequence

from stages.errors import BrokenFileError, UserError
from stages.urls.batch import required_column
from stages.urls.damage import Damage
from stages.urls.files import Files, filesystem, reading
from stages.urls.parts import find_files
from stages.urls.readers import PartRows
from stages.urls.selection import Selection
from stages.urls.settings import SourceSettings

TRIED = 16
"""Files whose headers are looked at until one is as it should be."""


def check(name: str, source: SourceSettings) -> None:
    """Check a source against the header of its first file that is as the manifest says.

    One that is not, beside one that is, or cannot be read at all, is the run's to list.

    Raises:
        UserError: a path matches nothing; the images' folder is not there; a column of `url`, `text`, `where` or `keep`
            is not there; `where` is no condition over the columns.
    """
    mistake = _mistake(source, [files for files, _ in find_files(name, source)[:TRIED]])
    if mistake is not None:
        raise mistake
    if source.images_root is not None and not source.packed:
        _check_folder(name, source.images_root)


def _mistake(source: SourceSettings, parts: Sequence[Files]) -> UserError | None:
    """Return what is wrong with the first file that can be read, None where nothing is wrong with some other."""
    first: UserError | None = None
    for files in parts:
        try:
            _check_columns(source, files)
        except (BrokenFileError, OSError):
            continue
        except UserError as error:
            first = first or error
        else:
            return None
    return first


def _check_columns(source: SourceSettings, files: Files) -> None:
    with reading(files):
        rows = PartRows(source, files)
        for key in ("url", "text"):
            if candidates := getattr(source, f"{key}_names", None):
                required_column(rows.schema.names, candidates, key=f"{key}:", place=files[0])
        Selection(source, rows.schema, rows.types, Damage(files[-1]))


def _check_folder(name: str, root: str) -> None:
    files, inner = filesystem(root)
    if not files.isdir(inner):
        raise UserError(f"source {name}: there is no folder {root}; correct its `images`")
