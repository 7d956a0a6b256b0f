"""Images on local disk, put down in the order in which they finish and read back in any other."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self


class Spool:
    """One growing file of encoded images, found again by row: memory stays at an image, whatever the shard's size."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("w+b")
        self._places: dict[int, tuple[int, int]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._file.close()
        self._path.unlink()

    def put(self, row: int, image: bytes) -> None:
        """Append a row's image."""
        start = self._file.seek(0, 2)
        self._file.write(image)
        self._places[row] = (start, len(image))

    def get(self, row: int) -> bytes:
        """A row's image.

        Raises:
            KeyError: the row has none.
        """
        start, size = self._places[row]
        self._file.seek(start)
        return self._file.read(size)
