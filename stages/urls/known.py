"""The rows of a file that are in shards already, from when it was cut before."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.urls.keys import is_in, next_number, parse


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


class Known:
    """Told of every row of a file as it is now, it says which are new, and in the end which old ones still count.

    A row that lies in several shards counts in the last of them by name, where the latest attempt at it put it.

    Args:
        file: what the keys begin with.
        keys: those of the rows of every shard that was cut of it, in the shards' order.
        retries: of the shards whose rows are tried again, by which retry.
        forgotten: the keys of rows whose images have been forgotten, of the shards that have such.
    """

    def __init__(
        self,
        file: str,
        keys: Mapping[str, Sequence[str]],
        retries: Mapping[str, int] | None = None,
        forgotten: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        self._retries, self._forgotten = retries or {}, forgotten or {}
        self._keys = {shard: keys[shard] for shard in sorted(keys)}
        numbers = parse(file, [key for own in self._keys.values() for key in own])
        order = np.argsort(numbers, kind="stable")
        last = np.append(numbers[order][1:] != numbers[order][:-1], True)[: len(order)]
        self._places: NDArray[np.int64] = order[last]
        self._numbers = numbers[self._places]
        self._counts = np.zeros(len(numbers), np.bool_)

    @property
    def next_number(self) -> int:
        """The number of the next shard that is cut."""
        return next_number(self._keys)

    def see(self, numbers: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which of these rows are new; the others count where they are."""
        old = is_in(numbers, self._numbers)
        self._counts[self._places[np.searchsorted(self._numbers, numbers[old])]] = True
        return ~old

    def counted(self) -> Iterator[Counted]:
        """The shards of which rows count."""
        start = 0
        for shard, keys in self._keys.items():
            counts = self._counts[start : start + len(keys)]
            start += len(keys)
            if counts.any():
                without = tuple(key for key, own in zip(keys, counts.tolist(), strict=True) if not own)
                forgotten = tuple(sorted(self._forgotten.get(shard, ())))
                yield Counted(shard, int(counts.sum()), without, self._retries.get(shard, 0), forgotten)
