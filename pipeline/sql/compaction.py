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
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pipeline.dag.graph import Graph
from pipeline.sql.damage import whole_tables
from pipeline.sql.scan import SHARD, Alike, Tables, alike, below, open_duckdb, scan, text
from pipeline.store import COMPACTED, TABLE, Store, file_of
from stages.io.files import whole_file, write_whole

SHARDS: Final = 1000
"""Shards of a large table."""
MANY: Final = 1000
"""Small tables of a folder from which on a run puts them together at its end."""


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
        found = store.read_json(f"{folder}/{COMPACTED}.json", "files", "shards")
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
        if not node.spec.at_once:
            folder = store.folder_of(node)
            before = compaction(store, folder)
            missing = sorted(store.committed(folder) - before.shards)
            if len(missing) < least:
                continue
            batches = [batch for group in alike(store, node, missing) for batch in _batched(group)]
            written = [_put_together(store, folder, batch) for batch in batches]
            if written:
                after = {"files": [*before.files, *written], "shards": sorted(before.shards.union(missing))}
                write_whole(f"{folder}/{COMPACTED}.json", json.dumps(after).encode())
            shards, files = shards + len(missing), files + len(written)
    return Compacted(shards, files)


def stray_tables(store: Store, folder: str) -> list[str]:
    """The large tables that do not count, below a folder: those of a compaction that did not come to its end."""
    counted = compaction(store, folder).files
    return [name for name in (f"{COMPACTED}/{found}" for found in store.compacted(folder)) if name not in counted]


def _batched(group: Alike) -> Iterator[Alike]:
    for start in range(0, len(group.shards), SHARDS):
        yield Alike(group.shards[start : start + SHARDS], group.schema)


def _put_together(store: Store, folder: str, batch: Alike) -> str:
    """Write one large table, and return its name below the folder."""
    name = f"{COMPACTED}/{uuid.uuid4().hex[:12]}{TABLE}"
    names = below(store, folder, *map(file_of, batch.shards))
    rows = scan(store, [Tables(names, {"shard": SHARD}, batch.schema)])
    with (
        whole_tables(store, [folder]),
        whole_file(f"{folder}/{name}") as path,
        open_duckdb(store) as connection,
    ):
        connection.execute(f"COPY ({rows}) TO {text(str(path))} (FORMAT parquet, COMPRESSION zstd)")
    return name
