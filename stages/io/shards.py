"""Reading committed shards: tables and the images in their tars, on any fsspec filesystem."""

from __future__ import annotations

import logging
import tarfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.contract import MAX_BYTES, Shard
from stages.errors import DamagedError
from stages.io import tars
from stages.io.files import open_bytes
from stages.io.outages import patient

logger = logging.getLogger(__name__)

BROKEN: Final = (DamagedError, OSError, ValueError, KeyError, EOFError, tarfile.TarError)
"""What reading a shard's tables and tars, or writing them anew, raises when one of them is gone or broken."""


class MissingImagesError(ValueError):
    """A tar lacks images that its table lists as downloaded."""

    def __init__(self, tar: str, table: str, keys: Sequence[str]) -> None:
        super().__init__(f"{tar} lacks {len(keys)} image(s) that {table} lists, {keys[0]} first")
        self.tar = tar
        self.keys = keys
        """Of the images that are not there."""


@dataclass(frozen=True)
class Artifact:
    """A committed table and the side files that its metadata names."""

    url: str
    """fsspec URL of the Parquet table."""

    without: frozenset[str] = frozenset()
    """The keys of rows that do not count."""

    @patient
    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Read the whole table, or the columns named, and of it the rows that count.

        Raises:
            DamagedError: it is none.
            OSError: it is not there, or storage is out of order.
        """
        read = list(columns) if columns is not None else None
        if read is not None and self.without and "key" not in read:
            read.append("key")
        with whole_table(self.url), open_bytes(self.url) as file:
            found = _read(file, read)
        if self.without:
            gone = pc.is_in(found["key"], pa.array(sorted(self.without), pa.string()))
            found = found.filter(pc.invert(gone))
        return found if columns is None else found.select(list(columns))

    @patient
    def metadata(self) -> dict[str, str]:
        """The table's own key-value metadata (stage, fingerprint, recipe, counts, side files, ...).

        Raises:
            DamagedError: it is none.
            OSError: it is not there, or storage is out of order.
        """
        with whole_table(self.url), open_bytes(self.url) as file:
            found = pq.read_metadata(file).metadata or {}
            return {key.decode(): value.decode() for key, value in found.items() if not key.startswith(b"ARROW:")}

    def side(self, ending: str) -> str:
        """The fsspec URL of a side file.

        Raises:
            KeyError: the table names no such side file.
        """
        location = self.metadata()[f"side.{ending}"]
        return location if "/" in location else f"{self.url.rsplit('/', 1)[0]}/{location}"


def _read(file: IO[bytes], columns: Sequence[str] | None) -> pa.Table:
    """Read a table as `pq.read_table` does, which takes twice as long for a small one: it makes a data set of it.

    Raises:
        ArrowInvalid: it is none, or lacks a column.
    """
    found = pq.ParquetFile(file, page_checksum_verification=True).read(columns=columns)
    if lacks := set(columns or ()).difference(found.column_names):
        raise pa.ArrowInvalid(f"it has no column {sorted(lacks)[0]}")
    return found


@contextmanager
def whole_table(url: str) -> Iterator[None]:
    """What reads a committed table; one that is damaged is told with its name, and with what to do.

    Raises:
        DamagedError: it is damaged.
    """
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, LookupError) as error:  # what a name became may be no text, or gone
        if is_of_storage(error):
            raise
        raise damaged_table(url, error) from None


def is_of_storage(error: BaseException) -> bool:
    """Whether an error says that storage is out of order, or has no such file, and nothing of what a file holds.

    Arrow and tarfile raise plain `OSError` without a number for a content that is none.
    """
    return isinstance(error, OSError) and (type(error) is not OSError or error.errno is not None)


def damaged_table(url: str, error: object) -> DamagedError:
    """What is said of a damaged table."""
    folder, _, name = url.rpartition("/")
    part = f"{folder}/parts/{name.rsplit('-', 2)[0]}*"  # which says that the file's shards are all there
    return DamagedError(url, error, also=f" and {part}" if "/urls/" in url and not folder.endswith("/parts") else "")


def duplicates(shard: Shard) -> frozenset[str]:
    """The keys of the shard's images that are copies of others; nothing is to be computed for them."""
    verdicts = shard.maybe("duplicates")
    return frozenset() if verdicts is None else frozenset(part_of(verdicts, shard.name, ["key"])["key"].to_pylist())


def part_of(verdicts: Artifact, shard: str, columns: Sequence[str]) -> pa.Table:
    """What a table of all shards of a source, which is ordered by them, says of one: little else of it is read.

    Raises:
        DamagedError: it is none.
        OSError: it is not there, or storage is out of order.
    """
    with whole_table(verdicts.url), open_bytes(verdicts.url) as file:
        return pq.read_table(file, columns=list(columns), filters=[("shard", "=", shard)])


def read_images(images: Artifact, without: Collection[str] = ()) -> Iterator[tuple[str, bytes]]:
    """Yield (key, encoded image) of every downloaded image of a download shard, in the tar's order.

    The tar is streamed, so that memory stays at one image whatever the shard's size. One that is cut off, or damaged in
    its middle, lacks what lies behind that. What is larger than any image that was downloaded is none of them.

    Args:
        images: the download shard.
        without: keys to leave out.

    Raises:
        MissingImagesError: the tar lacks images that the table lists as downloaded; all others have been yielded.
        OSError: the tar cannot be read (`tarfile.ReadError` if it is none).
    """
    table = images.table(["key", "status", "member"])
    wanted: dict[str, list[str]] = {}
    for key, status, member in zip(*(table[name].to_pylist() for name in table.column_names), strict=True):
        if status == "success" and key not in without:
            wanted.setdefault(member, []).append(key)
    if not wanted:
        return
    tar = images.side("tar")
    with open_bytes(tar) as file, tars.open_tar(file, "r|*") as archive, suppress(tarfile.ReadError):
        for found in tars.files(archive, wanted):  # up to the last, or to where the archive is damaged
            if found.size <= MAX_BYTES:
                content = found.read()
                yield from ((key, content) for key in wanted.pop(found.name))
    if wanted:
        raise MissingImagesError(tar, images.url, [key for keys in wanted.values() for key in keys])


def read_present(images: Artifact, missing: set[str]) -> Iterator[tuple[str, bytes]]:
    """As `read_images`, for who can do without some: the keys of those that the tar lacks are added to `missing`.

    Raises:
        OSError: the tar cannot be read (`tarfile.ReadError` if it is none).
    """
    try:
        yield from read_images(images)
    except MissingImagesError as error:
        logger.warning("%s", error)
        missing.update(error.keys)
