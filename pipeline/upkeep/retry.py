"""`capfilt retry`: rows that failed for a reason that may pass are tried again.

They are put into new shards, under the keys that they have, and count no more where they were. A run then works the new
shards like any others: nothing that is done is done again. A row that fails again may be tried again in the same way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.dag.graph import Node
from pipeline.dag.listing import PARTS, listing_table, listings, next_name, part_of, read_listing
from pipeline.session import Session
from pipeline.store import Store
from stages.contract import Output
from stages.errors import UserError
from stages.tables import RETRY, STATUSES, Status
from stages.urls.keys import next_numbers, shard_name
from stages.urls.known import Counted

KIND: Final = "images"
"""What holds rows that failed for reasons that pass."""
PASSING: Final[tuple[Status, ...]] = (
    "dns",
    "connection",
    "tls",
    "timeout",
    "host_down",
    "http_later",
    "http_5xx",
    "http_other",
    "missing_file",
    "error",
)
"""What is tried again unless somebody says otherwise: the other reasons are the image's or its owner's, and stay."""
_NEVER: Final[tuple[Status, ...]] = ("success", "removed", "invalid_url")
READERS: Final = 8
"""Tables that are looked through at once."""


@dataclass(frozen=True)
class Marked:
    """What will be tried again."""

    rows: int
    shards: int


def statuses_of(text: str | None) -> frozenset[str]:
    """The statuses that a command names, separated by commas; without any, those that may pass.

    Raises:
        UserError: there is no such status, or its rows are not for trying again.
    """
    if text is None:
        return frozenset(PASSING)
    named = {word.strip() for word in text.split(",")} - {""}
    allowed = [status for status in STATUSES if status not in _NEVER]
    for status in sorted(named) or [""]:
        if status not in allowed:
            raise UserError(f"--status {status}: choose of {', '.join(allowed)}")
    return frozenset(named)


def mark(session: Session, wanted: Collection[str]) -> Marked:
    """Put every row that ended in one of the statuses wanted into a new shard.

    Args:
        session: the opened manifest.
        wanted: statuses of the images table.
    """
    rows = shards = 0
    for node in session.graph.writing(KIND):
        assert node.source is not None, "images are downloaded source by source"
        cut, folder = session.graph.cutting(node.source), session.store.folder_of(node)
        there = session.store.committed(folder)
        numbers = next_numbers(session.store.committed(session.store.folder_of(cut)))
        for listing in listings(cut, session.store):
            found = _again(session.store, cut, numbers, folder, there, listing, wanted)
            rows, shards = rows + sum(map(len, found)), shards + len(found)
    return Marked(rows, shards)


def _again(  # noqa: PLR0913, PLR0917 - where to look, and for what
    store: Store,
    cut: Node,
    numbers: Mapping[str, int],
    images: str,
    there: Collection[str],
    listing: str,
    wanted: Collection[str],
) -> list[pa.Array]:
    """The keys that are tried again of every shard of a file that has such; they are in new shards then."""
    folder = store.folder_of(cut)
    counted = read_listing(store, folder, [listing])
    with ThreadPoolExecutor(READERS) as pool:
        keys = list(pool.map(partial(_keys, store, images, there, wanted), counted))
    if any(map(len, keys)):
        file = cut.parts_by_name[part_of(listing)].file
        new = [*_commit(store, cut, file, numbers[file], counted, keys)]
        left = [_left(shard, again) for shard, again in zip(counted, keys, strict=True)]
        table = listing_table([*(shard for shard in left if shard.rows), *new])
        store.commit(f"{folder}/{PARTS}", next_name(listing), Output(table), {"stage": cut.spec.name})
    return [again for again in keys if len(again)]


def _keys(store: Store, images: str, there: Collection[str], wanted: Collection[str], shard: Counted) -> pa.Array:
    """The keys of a shard's rows that count and ended in a status wanted."""
    if shard.shard not in there:
        return pa.array([], pa.string())
    table = store.artifact(images, shard.shard, frozenset(shard.without)).table(["key", "status"])
    hit = pc.is_in(table["status"], pa.array(sorted(wanted), pa.string()))
    return table["key"].filter(hit).combine_chunks()


def _left(shard: Counted, again: pa.Array) -> Counted:
    return replace(shard, rows=shard.rows - len(again), without=(*shard.without, *again.to_pylist()))


def _commit(  # noqa: PLR0913, PLR0917 - what is put where
    store: Store, cut: Node, file: str, number: int, counted: Sequence[Counted], keys: Sequence[pa.Array]
) -> Iterator[Counted]:
    """Commit new shards of the rows of some keys, none larger than the largest that they were in."""
    folder = store.folder_of(cut)
    again = [(shard, own) for shard, own in zip(counted, keys, strict=True) if len(own)]
    held = [store.artifact(folder, shard.shard).table() for shard, _ in again]
    rows = pa.concat_tables(
        [table.filter(pc.is_in(table["key"], own)) for table, (_, own) in zip(held, again, strict=True)]
    )
    size = max(table.num_rows for table in held)
    retry = 1 + max(shard.retry for shard in counted)
    for place, start in enumerate(range(0, rows.num_rows, size)):
        table = rows.slice(start, size)
        name = shard_name(file, number + place, table["key"].to_pylist())
        store.commit(folder, name, Output(table), {"stage": cut.spec.name, RETRY: str(retry)})
        yield Counted(name, table.num_rows, retry=retry)
