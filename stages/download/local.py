"""Images that lie in the source's own folder, on any fsspec filesystem."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import Final, TypeAlias, TypeVar

from fsspec.implementations.local import LocalFileSystem

from stages.download.fit import Fit
from stages.download.rows import Outcome, Row
from stages.download.spool import Spool
from stages.errors import UserError
from stages.io.files import locate
from stages.io.side_by_side import side_by_side
from stages.words import one_line

_NO_FILE: Final = {errno.ENAMETOOLONG: "the name is too long", errno.ELOOP: "its links lead in a circle"}
T = TypeVar("T")
Sized: TypeAlias = "tuple[Row, int | Outcome]"
"""A row, and the bytes of its file; or what became of it if it is not to be read."""


class Local:
    """Reads rows by their `file` below one folder."""

    def __init__(self, images: str, threads: int, fit: Fit) -> None:
        self._filesystem, root = locate(images)
        self._root = root.rstrip("/")
        self._side_by_side = partial(side_by_side, threads=threads, at_once=4 * threads)
        self._fit = fit

    def __call__(self, rows: Sequence[Row], spool: Spool) -> dict[int, Outcome]:
        """What became of every row, by its index; the images are in the spool.

        Raises:
            UserError: the folder is not there, or nothing is in it: a disk that is not mounted loses no row.
        """
        sized = self._side_by_side(self._size, rows)
        outcomes: dict[int, Outcome] = {}
        for (row, _), (outcome, image) in self._side_by_side(self._read, sized, size=_bytes_of):
            outcomes[row.index] = outcome
            if image is not None:
                spool.put(row.index, image)
        if outcomes and all(outcome.status == "missing_file" for outcome in outcomes.values()):
            self._check_folder()
        return outcomes

    def _size(self, row: Row) -> int | Outcome:
        path = inside(row.file or "")
        if path is None:
            return Outcome("missing_file", f"{row.file!r} leads out of the images folder")
        info = self._asked(self._filesystem.info, path)
        if isinstance(info, Outcome):
            return info
        if info["type"] != "file":  # a folder; or a device or a pipe, which has no end
            return Outcome("missing_file", f"no file {path}")
        return self._fit.too_large(info["size"]) or int(info["size"])

    def _read(self, sized: Sized) -> tuple[Outcome, bytes | None]:
        row, size = sized
        if isinstance(size, Outcome):
            return size, None
        encoded = self._asked(self._filesystem.cat_file, str(inside(row.file or "")))
        return (encoded, None) if isinstance(encoded, Outcome) else self._fit.image(encoded)

    def _asked(self, ask: Callable[[str], T], path: str) -> T | Outcome:
        """What the filesystem says of a path; or what becomes of its row.

        Raises:
            OSError: the storage is out of order, which says nothing of the image: the shard fails and is tried again.
                That one may not read a file, or that no file can be called so, is of the file and will not pass.
        """
        try:
            return ask(f"{self._root}/{path}")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return Outcome("missing_file", f"no file {path}")
        except PermissionError as error:
            return Outcome("error", one_line(error))
        except OSError as error:
            if error.errno not in _NO_FILE:
                raise
            return Outcome("missing_file", f"no file: {_NO_FILE[error.errno]}")

    def _check_folder(self) -> None:
        if not self._filesystem.isdir(self._root) or (
            isinstance(self._filesystem, LocalFileSystem) and not any(os.scandir(self._root or "/"))
        ):
            raise UserError(f"there is nothing below {self._root}; mount it, or correct the source's `images`")


def _bytes_of(sized: Sized) -> int:
    return sized[1] if isinstance(sized[1], int) else 0


def inside(file: str) -> str | None:
    """A relative path in plain form, or None if it does not stay below the folder that it is relative to."""
    path = PurePosixPath(file)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in file:
        return None
    return str(path)
