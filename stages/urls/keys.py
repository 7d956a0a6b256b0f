"""What a row is known by: its file's name and its own address and text, never its place.

A key is `<source>-<file>-<row>`: eight hex digits of the file's name, sixteen of the row's address and text, and of
further equal rows of the file a number, `-1`, `-2`. So a list that grows, another order of its files and another size
of shards leave every row its key, and with it the random numbers that its captions are drawn with.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.io.json_text import to_json
from stages.keys import ROW_DIGITS

_STEP: Final = np.uint64(0x9E3779B97F4A7C15)
"""An odd number: so many multiples of it as there are equal rows are all different."""


def file_id(source: str, name: str) -> str:
    """What the keys and the shards of a file begin with.

    Args:
        source: the source's name.
        name: the file's, below the folder that the source names.
    """
    return f"{source}-{blake2b(name.encode(), digest_size=4).hexdigest()}"


def shard_name(file: str, number: int, keys: Sequence[str]) -> str:
    """The name of a shard of a file: its number, and eight hex digits of which rows it holds, which never change."""
    held = blake2b("\n".join(keys).encode(), digest_size=4).hexdigest()
    return f"{file}-{number:05d}-{held}"


def file_of(shard: str) -> str:
    """What the name of a shard begins with, see `shard_name`."""
    return shard.rsplit("-", 2)[0]


def next_number(shards: Iterable[str]) -> int:
    """The number that a file's next shard has, behind these."""
    return 1 + max((int(shard.split("-")[-2]) for shard in shards), default=-1)


def next_numbers(shards: Iterable[str]) -> dict[str, int]:
    """By file, the number that its next shard has, behind all these of any file."""
    files: dict[str, list[str]] = {}
    for shard in shards:
        files.setdefault(file_of(shard), []).append(shard)
    return {file: next_number(own) for file, own in files.items()}


def row_hashes(content: pa.RecordBatch) -> NDArray[np.uint64]:
    """Sixty-four bits of the address and the text of every row.

    Args:
        content: with the columns url, text, texts, file and questions. The address is the url, or where there is none,
            the file; the text is all human captions, or where there are none, the web text; and all questions with
            their answers.
    """
    names = ("url", "file", "text", "texts", "questions")
    columns = zip(*(content.column(name).to_pylist() for name in names), strict=True)
    hashes = (
        _hash(url or file or "", [*([text or ""] if texts is None else texts), *map(to_json, questions or ())])
        for url, file, text, texts, questions in columns
    )
    return np.frombuffer(b"".join(hashes), ">u8").astype(np.uint64)


def _hash(address: str, texts: Sequence[str | None]) -> bytes:
    said = "\0".join([address, *(text or "" for text in texts)])
    return blake2b(said.encode("utf-8", "surrogatepass"), digest_size=ROW_DIGITS // 2).digest()


def keys_of(file: str, hashes: NDArray[np.uint64], repeats: NDArray[np.int64]) -> list[str]:
    """The keys of rows.

    Args:
        file: as `file_id` has it.
        hashes: of the rows.
        repeats: how many equal rows of the file came before each.
    """
    return [
        f"{file}-{number:0{ROW_DIGITS}x}{f'-{repeat}' if repeat else ''}"
        for number, repeat in zip(hashes.tolist(), repeats.tolist(), strict=True)
    ]


def numbers_of(hashes: NDArray[np.uint64], repeats: NDArray[np.int64]) -> NDArray[np.uint64]:
    """One number for every row of a file, in which equal rows differ too."""
    return hashes + repeats.astype(np.uint64) * _STEP


def parse(file: str, keys: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The hashes and the repeats, as `keys_of` takes them, of rows whose keys begin with a file."""
    start, end = len(file) + 1, len(file) + 1 + ROW_DIGITS
    hashes = np.frombuffer(bytes.fromhex("".join(key[start:end] for key in keys)), ">u8").astype(np.uint64)
    return hashes, np.array([int(key[end + 1 :] or 0) for key in keys], np.int64)


class Repeats:
    """How many equal rows came before, batch by batch; eight bytes are kept of every distinct row."""

    def __init__(self) -> None:
        self._runs: list[NDArray[np.uint64]] = []
        """Sorted; each is more than twice as long as the next."""
        self._counts: dict[int, int] = {}
        """Of what came more than once."""

    def __call__(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The number of equal rows before each row."""
        distinct, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
        known = self._has(distinct)
        found = np.zeros(len(hashes), np.int64)
        for row in np.flatnonzero((known | (counts > 1))[inverse]):
            number = int(hashes[row])
            found[row] = self._counts.get(number, int(known[inverse[row]]))
            self._counts[number] = int(found[row]) + 1
        self._add(distinct[~known])
        return found

    def _has(self, numbers: NDArray[np.uint64]) -> NDArray[np.bool_]:
        found = np.zeros(len(numbers), np.bool_)
        for run in self._runs:
            found |= is_in(numbers, run)
        return found

    def _add(self, numbers: NDArray[np.uint64]) -> None:
        """Numbers are put together until every run is long, so that there are few."""
        while self._runs and len(self._runs[-1]) <= 2 * len(numbers):
            numbers = np.sort(np.concatenate([self._runs.pop(), numbers]))
        if len(numbers):
            self._runs.append(numbers)


def is_in(numbers: NDArray[np.uint64], among: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Whether numbers are among sorted ones."""
    places = np.minimum(np.searchsorted(among, numbers), max(len(among) - 1, 0))
    return among[places] == numbers if len(among) else np.zeros(len(numbers), np.bool_)
