"""Images that lie in the source's own folder, on any fsspec filesystem."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import PurePosixPath

from stages.download.fit import Fit
from stages.download.rows import Outcome, Row
from stages.download.spool import Spool
from stages.download.statuses import tidy
from stages.errors import UserError
from stages.io.files import locate
from stages.io.side_by_side import side_by_side


class Local:
    """Reads rows by their `file` below one folder."""

    def __init__(self, images: str, threads: int, fit: Fit) -> None:
        self._filesystem, root = locate(images)
        self._root = root.rstrip("/")
        self._threads = threads
        self._fit = fit

    def __call__(self, rows: Sequence[Row], spool: Spool) -> dict[int, Outcome]:
        """What became of every row, by its index; the images are in the spool.

        Raises:
            UserError: not one of several files is there, so that the folder is the wrong one; were they committed as
                missing, the right folder would not bring them back, because a folder is no part of a fingerprint.
        """
        outcomes: dict[int, Outcome] = {}
        read = side_by_side(self._read, rows, threads=self._threads, at_once=4 * self._threads)
        for row, (outcome, image) in read:
            outcomes[row.index] = outcome
            if image is not None:
                spool.put(row.index, image)
        if len(rows) > 1 and all(outcome.status == "missing_file" for outcome in outcomes.values()):
            raise UserError(
                f"not one of {len(rows)} images lies below {self._root}, {rows[0].file} for instance; "
                "correct the source's `images`"
            )
        return outcomes

    def _read(self, row: Row) -> tuple[Outcome, bytes | None]:
        path = inside(row.file or "")
        if path is None:
            return Outcome("missing_file", f"{row.file!r} leads out of the images folder"), None
        try:
            encoded: bytes = self._filesystem.cat_file(f"{self._root}/{path}")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return Outcome("missing_file", f"no file {path}"), None
        except PermissionError as error:
            return Outcome("error", tidy(str(error))), None
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise  # the storage is out of order, which says nothing of the image: the shard fails and is retried
            return Outcome("missing_file", "no file: the name is too long"), None
        return self._fit.image(encoded)


def inside(file: str) -> str | None:
    """A relative path in plain form, or None if it does not stay below the folder that it is relative to."""
    path = PurePosixPath(file)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in file:
        return None
    return str(path)
