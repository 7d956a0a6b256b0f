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


@dataclass(frozen=True)
class Began:
    """The shards of a training, by source and name, and their sizes, as they were when it began."""

    names: tuple[tuple[str, str], ...]
    sizes: tuple[Size, ...]

    def change(self, now: Began) -> float:
        """How much of what is trained on has come or gone since, as a share of all, in [0, 1]."""
        before, after = (dict(zip(each.names, each.sizes, strict=True)) for each in (self, now))
        names, none = before.keys() | after.keys(), Size()
        moved = sum(abs(before.get(name, none).training - after.get(name, none).training) for name in names)
        total = sum(max(before.get(name, none).training, after.get(name, none).training) for name in names)
        return moved / total if total else 0.0

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
