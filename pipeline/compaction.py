"""`capfilt compact`: a few large tables beside many small ones, for queries that read them all.

    <output>/<stage>/<fingerprint>/compacted/<id>.parquet     the rows of many shards, with a column `shard`
    <output>/<stage>/<fingerprint>/compacted.json             which of these files count, and what shards they hold

The shards' own tables stay, and stay the truth: stages read them, and what changes or removes one of them drops the
compaction of its folder first. A query reads the large tables, and the small ones of shards that came later. A run
compacts at its end what has thousands of them.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.graph import Graph
from pipeline.store import COMPACTED, Store
from stages.files import whole_file, write_whole

ROWS: Final = 2_000_000
"""Rows from which on a large table is full."""
MANY: Final = 1000
"""Small tables of a folder from which on a run puts them together at its end."""
READERS: Final = 8
"""Shards that are read at once."""


@dataclass(frozen=True)
class Compaction:
    """What of a folder has been compacted."""

    files: tuple[str, ...] = ()
    """The large tables' names, below the folder."""
    shards: frozenset[str] = frozenset()
    """The shards whose rows are in them."""


@dataclass(frozen=True)
class Compacted:
    """What was done."""

    shards: int
    """Tables of shards that were read."""
    files: int
    """Large tables that were written."""


def compaction(store: Store, folder: str) -> Compaction:
    """What of a folder has been compacted."""
    try:
        found = store.read_json(f"{folder}/{COMPACTED}.json")
    except FileNotFoundError:
        return Compaction()
    return Compaction(tuple(found["files"]), frozenset(found["shards"]))


def compact(graph: Graph, store: Store, *, least: int = 1) -> Compacted:
    """Compact the tables of every stage that works shard by shard, as far as that is not done yet.

    Args:
        graph: whose tables.
        store: where they lie.
        least: folders with fewer tables than this that are in no large one are left as they are.
    """
    shards = files = 0
    for node in graph.nodes.values():
        if node.spec.scope == "shard":
            folder = store.folder(node.spec.name, node.fingerprint)
            before = compaction(store, folder)
            missing = sorted(store.committed(folder) - before.shards)
            if len(missing) < least:
                continue
            written = [_write(folder, table) for table in _large_tables(store, folder, missing)]
            if written:
                after = {"files": [*before.files, *written], "shards": sorted(before.shards.union(missing))}
                write_whole(f"{folder}/{COMPACTED}.json", json.dumps(after).encode())
            shards, files = shards + len(missing), files + len(written)
    return Compacted(shards, files)


def stray_tables(store: Store, folder: str) -> list[str]:
    """The large tables that do not count, below a folder: those of a compaction that did not come to its end."""
    counted = compaction(store, folder).files
    return [name for name in (f"{COMPACTED}/{found}" for found in store.compacted(folder)) if name not in counted]


def _large_tables(store: Store, folder: str, shards: Sequence[str]) -> Iterator[pa.Table]:
    held: list[pa.Table] = []
    for table in _tables(store, folder, shards):
        held.append(table)
        if sum(map(len, held)) >= ROWS:
            yield _together(held)
            held = []
    if held:
        yield _together(held)


def _tables(store: Store, folder: str, shards: Sequence[str]) -> Iterator[pa.Table]:
    """The shards' tables in order, each with its name in a column."""

    def read(shard: str) -> pa.Table:
        table = store.artifact(folder, shard).table().replace_schema_metadata(None)
        return table.append_column("shard", pa.repeat(pa.scalar(shard, pa.string()), len(table)))

    with ThreadPoolExecutor(READERS) as pool:
        for start in range(0, len(shards), READERS):  # so that few of them wait in memory
            yield from pool.map(read, shards[start : start + READERS])


def _together(tables: Sequence[pa.Table]) -> pa.Table:
    return pa.concat_tables(tables, promote_options="permissive")


def _write(folder: str, table: pa.Table) -> str:
    name = f"{COMPACTED}/{uuid.uuid4().hex[:12]}.parquet"
    with whole_file(f"{folder}/{name}") as path:
        pq.write_table(table, path, compression="zstd")
    return name
