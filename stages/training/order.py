"""Which image comes when, and every other choice that is made by chance: pure functions of the seed and the position.

Nothing has to be saved to resume at a step, and the number of workers changes none of it: the images of a source are
one endless line, epoch after epoch, and the sources' lines are woven into one, of which every step takes the next
`batch_size` and every worker its part.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from hashlib import blake2b
from itertools import accumulate
from math import lcm
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Draw(NamedTuple):
    """An image at its turn."""

    shard: int
    image: int
    """Its place among the shard's images."""
    epoch: int
    """Of its source, from 0."""


@dataclass(frozen=True, eq=False)  # equal to itself alone: what is cached by line need not hash its sizes
class Line:
    """The images of one source: in every epoch every one once, in an order of that epoch.

    Shards come in random order, and the images of a few that follow one another are mixed. So the whole order is random
    enough to learn from, and whoever follows it holds a few shards at a time, whatever the size of the corpus.
    """

    source: str
    shards: tuple[int, ...]
    """The numbers of its shards, those without an image left out."""
    sizes: tuple[int, ...]
    """How many images each has."""
    window: int
    """Shards that are mixed with one another."""
    seed: int
    slices: int = 1
    """Of how many epochs each has its own part of the shards, as BLIP reads a fifth of LAION in each."""

    @cached_property
    def images(self) -> int:
        """How many images there are."""
        return sum(self.sizes)

    @cached_property
    def _slice_starts(self) -> list[int]:
        """Where each part begins among all images."""
        parts = (sum(self.sizes[part :: self.slices]) for part in range(self.slices))
        return list(accumulate(parts, initial=0))

    def at(self, position: int) -> Draw:
        """The image at a position (from 0)."""
        cycle, place = divmod(position, self.images)
        part = bisect_right(self._slice_starts, place) - 1
        epoch, place = cycle * self.slices + part, place - self._slice_starts[part]
        starts, windows = _windows(self, epoch)
        number = bisect_right(starts, place) - 1
        mixed = _permutation(self._key("images", epoch, number), starts[number + 1] - starts[number])
        left = int(mixed[place - starts[number]])
        for shard in windows[number]:
            if left < self.sizes[shard]:
                break
            left -= self.sizes[shard]
        return Draw(self.shards[shard], left, epoch)

    def _key(self, *words: str | int) -> int:
        return mix(*words, self.source, self.seed)


@lru_cache(maxsize=64)
def _windows(line: Line, epoch: int) -> tuple[list[int], list[list[int]]]:
    """Where each window of an epoch begins (and the last ends), and the shards that each mixes."""
    own = range(epoch % line.slices, len(line.sizes), line.slices)
    order = [own[place] for place in _permutation(line._key("shards", epoch), len(own))]  # noqa: SLF001 - its own, cached
    windows = [order[first : first + line.window] for first in range(0, len(order), line.window)]
    sizes = (sum(line.sizes[shard] for shard in window) for window in windows)
    return list(accumulate(sizes, initial=0)), windows


@lru_cache(maxsize=64)
def _permutation(key: int, size: int) -> NDArray[np.int64]:
    """Numbers sorted by raw random numbers: those numpy promises to keep in later versions, its permutations not."""
    return np.random.Philox(key=key).random_raw(size).argsort(kind="stable")


class Mixture:
    """The lines of several sources as one, in which each has its share of every stretch."""

    def __init__(self, lines: Sequence[Line], shares: Mapping[str, float] | None) -> None:
        """Weave lines.

        Args:
            lines: at least one, none of them empty.
            shares: how much of a batch comes from each source, up to a common factor; None: as much as it has images,
                so that the epochs of all sources end together. As somebody wrote them: 0.1 is a tenth.
        """
        self._lines = tuple(lines)
        exact = (Fraction(str(shares[line.source])) if shares else Fraction(line.images, line.slices) for line in lines)
        self._weights = _whole_numbers(list(exact))

    @property
    def epoch_images(self) -> int:
        """Images of an epoch of all sources: of each all, or one of its slices."""
        return sum(-(-line.images // line.slices) for line in self._lines)

    def at(self, position: int) -> Draw:
        """The image at a position (from 0)."""
        before, after = self._drawn(position), self._drawn(position + 1)
        line, own = next((line, a) for line, a, b in zip(self._lines, before, after, strict=True) if a != b)
        return line.at(own)

    def epochs(self, position: int) -> dict[str, int]:
        """The epoch that each source is in at a position."""
        return {line.source: line.at(own).epoch for line, own in zip(self._lines, self._drawn(position), strict=True)}

    def _drawn(self, positions: int) -> list[int]:
        """How many of the first `positions` each source has: its share, rounded down, of what those before it leave."""
        counts, left, weight = [], positions, sum(self._weights)
        for own in self._weights:
            counts.append(left * own // weight)
            left, weight = left - counts[-1], weight - own
        return counts


def _whole_numbers(shares: Sequence[Fraction]) -> list[int]:
    common = lcm(*(share.denominator for share in shares))
    return [int(share * common) for share in shares]


def mix(*words: str | int) -> int:
    """A number in [0, 2^63) that belongs to these words alone: a seed for whatever is drawn for them."""
    digest = blake2b("/".join(map(str, words)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
