"""Images that lie together in one file: in a tar, or in a column of a Parquet table.

A row's `file` is then `<tar>/<member>`, or `<table>.parquet/<column>/<row, from 0>`, below the images folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import pyarrow.parquet as pq

from stages.download.fit import Fit
from stages.download.local import inside
from stages.download.rows import Outcome, Row
from stages.download.spool import Spool
from stages.io import tars
from stages.io.files import locate, open_bytes
from stages.io.side_by_side import HELD, side_by_side

_END: Final = re.compile(rf"({'|'.join(map(re.escape, (*tars.ENDINGS, '.parquet')))})/", re.IGNORECASE)
"""What the name of such a file ends with, and what stands between it and the image."""
_IMAGES_READ: Final = 64
"""Rows of a table that are read at a time, if their images are of a usual size."""


@dataclass(frozen=True)
class Container:
    """A file of images, and which of them the rows want."""

    name: str
    """Below the images folder."""
    url: str
    members: Mapping[str, Sequence[int]]
    """Image in it -> the rows, by their index."""

    @property
    def can_stay(self) -> bool:
        """Whether every image can be read where it lies, with one ranged read: so it is in an uncompressed tar."""
        return tars.is_tar(self.name) and not tars.is_packed(self.name)


def container_of(images: str, rows: Sequence[Row]) -> Container | None:
    """The file that all images of some rows lie in; None where they lie in files of their own.

    Raises:
        ValueError: they lie in several, or outside the images folder.
    """
    files = {row.index: row.file for row in rows if row.file}
    first = next(iter(files.values()), "")
    filesystem, root = locate(images)
    root = root.rstrip("/")
    named = [first[: end.end() - 1] for end in _END.finditer(first)]
    names = [name for name in named if not filesystem.isdir(f"{root}/{name}")]  # a folder may be called like a tar
    if not names:
        return None
    name = next((name for name in names if filesystem.isfile(f"{root}/{name}")), names[0])
    others = [file for file in files.values() if not file.startswith(f"{name}/")]
    if others or inside(name) is None:
        raise ValueError(f"the images of one shard must lie in one tar of the images folder, not in {[first, *others]}")
    members: dict[str, list[int]] = {}
    for index, file in files.items():
        members.setdefault(file.removeprefix(f"{name}/"), []).append(index)
    url = filesystem.unstrip_protocol(f"{root}/{inside(name)}")  # absolute: later stages run elsewhere
    return Container(name, url, members)


def unpack(container: Container, rows: Sequence[Row], spool: Spool, fit: Fit, threads: int) -> dict[int, Outcome]:
    """What became of every row, by its index; the images, fitted, are in the spool.

    Raises:
        OSError: the file cannot be read.
        tarfile.ReadError: it is a damaged tar.
    """
    outcomes = {row.index: Outcome("missing_file", f"{container.name} has no image for this row") for row in rows}
    files = (_members if tars.is_tar(container.name) else _cells)(container)
    contents = ((found.name, fit.too_large(found.size) or found.read()) for found in files)
    fitted = side_by_side(
        partial(_fitted, fit),
        contents,
        threads=threads,
        at_once=4 * threads,
        size=lambda content: _bytes_of(content[1]),
    )
    for (member, _), (outcome, image) in fitted:
        for index in container.members[member]:
            outcomes[index] = outcome
            if image is not None:
                spool.put(index, image)
    return outcomes


def _fitted(fit: Fit, content: tuple[str, bytes | Outcome]) -> tuple[Outcome, bytes | None]:
    return (content[1], None) if isinstance(content[1], Outcome) else fit.image(content[1])


def _bytes_of(content: bytes | Outcome) -> int:
    return len(content) if isinstance(content, bytes) else 0


def _members(container: Container) -> Iterator[tars.File]:
    """The wanted members of a tar; streamed."""
    with open_bytes(container.url) as file, tars.open_tar(file, "r|*") as archive:
        yield from tars.files(archive, container.members)


def _cells(container: Container) -> Iterator[tars.File]:
    """The wanted images of a table; read a few rows at a time."""
    columns = {member.rpartition("/")[0] for member in container.members}
    with open_bytes(container.url) as file, pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 22) as table:
        for column in sorted(columns):
            number = 0
            for batch in table.iter_batches(rows_at_once(table.metadata), columns=[column], use_threads=False):
                for image in batch.column(0):
                    name, number = f"{column}/{number}", number + 1
                    if name in container.members and image.is_valid:
                        yield tars.File(name, image.as_buffer().size, image.as_py)


def rows_at_once(metadata: pq.FileMetaData) -> int:
    """How many rows of a table are read at a time: fewer than usual if they would fill more than the memory meant."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    largest = max((group.total_byte_size // max(1, group.num_rows) for group in groups), default=0)
    return max(1, min(_IMAGES_READ, HELD // max(1, largest)))
