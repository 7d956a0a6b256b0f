"""The rows of a file that are in shards already, from when it was cut before."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.urls.keys import is_in, keys_of, next_number, numbers_of, parse


@dataclass(frozen=True)
class Counted:
    """A shard, and which of its rows count."""

    shard: str
    rows: int
    """How many do."""
    without: tuple[str, ...] = ()
    """The keys of those that do not."""
    retry: int = 0
    """Which `capfilt retry` its rows are tried by; 0 = none."""
    forgotten: tuple[str, ...] = ()
    """The keys of rows of it whose images were there, and have been forgotten; who reads it has not seen them."""


@dataclass(frozen=True)
class Held:
    """A shard as it was cut."""

    shard: str
    keys: Sequence[str]
    """Those of its rows."""
    retry: int = 0
    """As in `Counted`."""


class Known:
    """Told of every row of a file as it is now, it says which are new, and in the end which old ones still count.

    A row that lies in several shards counts in the last of them by name, where the latest attempt at it put it.

    Args:
        file: what the keys begin with.
        held: every shard that was cut of it, in the order of their names; they are taken in one by one, and of each row
            33 bytes are kept, of which a key is made again.
        forgotten: the keys of rows whose images have been forgotten, of the shards that have such.
    """

    def __init__(
        self, file: str, held: Iterable[Held] = (), forgotten: Mapping[str, Collection[str]] | None = None
    ) -> None:
        self._file, self._forgotten = file, forgotten or {}
        self._shards: list[tuple[str, int, int]] = []
        """Of every shard its name, its rows and its retry."""
        hashes, repeats = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
        for each in held:
            self._shards.append((each.shard, len(each.keys), each.retry))
            own = parse(file, each.keys)
            hashes.append(own[0])
            repeats.append(own[1])
        self._hashes, self._repeats = np.concatenate(hashes), np.concatenate(repeats)
        numbers = numbers_of(self._hashes, self._repeats)
        order = np.argsort(numbers, kind="stable")
        last = np.append(numbers[order][1:] != numbers[order][:-1], True)[: len(order)]
        self._places: NDArray[np.int64] = order[last]
        self._numbers = numbers[self._places]
        self._counts = np.zeros(len(numbers), np.bool_)

    @property
    def next_number(self) -> int:
        """The number of the next shard that is cut."""
        return next_number(shard for shard, _, _ in self._shards)

    def see(self, numbers: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which of these rows are new; the others count where they are."""
        old = is_in(numbers, self._numbers)
        self._counts[self._places[np.searchsorted(self._numbers, numbers[old])]] = True
        return ~old

    def counted(self) -> Iterator[Counted]:
        """The shards of which rows count."""
        start = 0
        for shard, rows, retry in self._shards:
            own = slice(start, start + rows)
            start += rows
            counts = self._counts[own]
            if counts.any():
                without = tuple(keys_of(self._file, self._hashes[own][~counts], self._repeats[own][~counts]))
                forgotten = tuple(sorted(self._forgotten.get(shard, ())))
                yield Counted(shard, int(counts.sum()), without, retry, forgotten)
