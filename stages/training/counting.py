"""How many images each shard has, counted once by all workers together, and what a training began with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, Self

import pyarrow.compute as pc

from stages.contract import CorpusShard
from stages.training.examples import Choice, identity_of, is_held_out, read_rows
from stages.training.gather import everybodys
from stages.training.place import Place


class Size(NamedTuple):
    """How many images of a shard there are."""

    training: int = 0
    """That are trained on; where each caption counts, captions."""
    holdout: int = 0
    """Kept back."""
    measured: int = 0
    """Left out because others measure on them."""
    wordless: int = 0
    """Left out because their captions say nothing."""


class Change(NamedTuple):
    """How many images of what is trained on are others than they were; where each caption counts, captions."""

    gone: int
    come: int
    total: int
    """Of all that were or are there."""

    @property
    def share(self) -> float:
        """In [0, 1]."""
        return (self.gone + self.come) / self.total if self.total else 0.0

    @property
    def words(self) -> str:
        """For people."""
        return f"{self.gone:,} of {self.total:,} images have gone and {self.come:,} have come ({self.share:.3%})"


@dataclass(frozen=True)
class Began:
    """The shards of a training, by source and name, and their sizes, as they were when it began."""

    names: tuple[tuple[str, str], ...]
    sizes: tuple[Size, ...]

    def change(self, now: Began) -> Change:
        """How much of what is trained on has come or gone since, shard by shard."""
        before, after = (
            {name: size.training for name, size in zip(each.names, each.sizes, strict=True)} for each in (self, now)
        )
        pairs = [(before.get(name, 0), after.get(name, 0)) for name in before.keys() | after.keys()]
        gone, come = (sum(max(0, sign * (then - since)) for then, since in pairs) for sign in (1, -1))
        return Change(gone, come, sum(map(max, pairs)))

    @property
    def by_source(self) -> dict[str, Size]:
        """The images of all shards of every source."""
        found: dict[str, Size] = {}
        for (source, _), size in zip(self.names, self.sizes, strict=True):
            found[source] = Size(*map(sum, zip(found.get(source, Size()), size, strict=True)))
        return found

    def as_json(self) -> bytes:
        """For a file."""
        return json.dumps({"names": self.names, "sizes": self.sizes}).encode()

    @classmethod
    def from_json(cls, content: bytes) -> Self:
        """From a file.

        Raises:
            ValueError: it is none.
            KeyError: likewise.
        """
        found = json.loads(content)
        return cls(
            tuple((source, shard) for source, shard in found["names"]), tuple(Size(*size) for size in found["sizes"])
        )


def count(shards: Sequence[CorpusShard], choice: Choice, readers: int, place: Place) -> Began:
    """The sizes of shards, of which every worker counts some, several at a time."""

    def size_of(shard: CorpusShard) -> Size:
        rows = read_rows(shard, choice)
        kept_back = [is_held_out(row.identity, choice.holdout) for row in rows.taken]
        texts = (len(row.captions) if choice.by_caption else 1 for row in rows.taken)
        trained = sum(own for own, kept in zip(texts, kept_back, strict=True) if not kept)
        return Size(trained, sum(kept_back), rows.measured, rows.wordless)

    with ThreadPoolExecutor(readers) as pool:
        own = list(pool.map(size_of, shards[place.rank :: place.world_size]))
    counted = everybodys(own)
    sizes = [counted[number % place.world_size][number // place.world_size] for number in range(len(shards))]
    return Began(tuple((shard.source, shard.shard) for shard in shards), tuple(sizes))


def measured_on(shards: Sequence[CorpusShard]) -> frozenset[int]:
    """The identities of the images of sources that others measure on."""
    found: set[int] = set()
    for artifact in (shard.one("measured") for shard in shards if shard.maybe("measured")):
        rows = artifact.table(["status", "sha256"])
        digests = rows.filter(pc.field("status") == "success")["sha256"].drop_null().to_pylist()
        found.update(map(identity_of, digests))
    return frozenset(found)
