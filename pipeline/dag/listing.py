"""Which shards of a source count, and where their tables lie.

A shard is a set of rows that never changes. What a file of the list holds now, and a source asks for, is said by a
listing of the file: the shards that its rows lie in, and which of their rows do not count. A listing is never changed
either; a file that has grown, and another condition, have another one. `capfilt retry` puts rows into new shards, and
`capfilt forget` clears rows in those that are there; both say so in a further listing of the same file, whose number is
one higher.

    <output>/urls/<fingerprint>/parts/<file>-<what is asked>.parquet
    <output>/urls/<fingerprint>/parts/<file>-<what is asked>.r001.parquet
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Final

import pyarrow as pa

from pipeline.dag.graph import Graph, Node
from pipeline.store import Store
from stages.contract import CorpusShard
from stages.io.shards import Artifact
from stages.urls.keys import file_of
from stages.urls.known import Counted

PARTS = "parts"
"""The folder below that of a cut source in which each file has a table that lists its shards."""
LISTED = pa.schema(
    [
        pa.field("shard", pa.string(), nullable=False),
        pa.field("rows", pa.int64(), nullable=False),  # that count
        pa.field("without", pa.list_(pa.string()), nullable=False),  # the keys of those that do not
        pa.field("retry", pa.int16(), nullable=False),  # which `capfilt retry` they are tried by, 0 = none
        pa.field("forgotten", pa.list_(pa.string()), nullable=False),  # the keys of those whose images were there once
    ]
)
READERS: Final = 16
"""Listings that are read at once: of an object store, each takes a round trip."""
_AGAIN = ".r"
"""Stands between a listing's name and its number."""


def done_folder(node: Node, store: Store) -> str:
    """Where the tables lie that say what of a node is done; of a source's files, it is a listing for each."""
    folder = store.folder_of(node)
    return f"{folder}/{PARTS}" if node.spec.grain == "file" else folder


def listing_table(shards: Iterable[Counted]) -> pa.Table:
    """A listing as it is stored."""
    return pa.Table.from_pylist([asdict(found) for found in shards], schema=LISTED)


def part_of(listing: str) -> str:
    """The part that a listing is of, by name."""
    return listing.partition(_AGAIN)[0]


def next_name(listing: str) -> str:
    """The name of the listing that takes another one's place."""
    return f"{part_of(listing)}{_AGAIN}{_number(listing) + 1:03d}"


def _number(listing: str) -> int:
    return int(listing.partition(_AGAIN)[2] or 0)


def latest(names: Iterable[str]) -> dict[str, str]:
    """Of every part the listing that counts, among the names of all that are there."""
    return {part_of(name): name for name in sorted(names, key=_number)}


def listings(node: Node, store: Store) -> list[str]:
    """The names of the listings that count, of all files of a source that have been cut, in their order."""
    there = latest(store.committed(done_folder(node, store)))
    return [there[part.name] for part in node.parts if part.name in there]


@dataclass(frozen=True)
class Before:
    """What there is of a file from when it was cut before, by name."""

    shards: tuple[str, ...] = ()
    listings: tuple[str, ...] = ()
    """All of them, whether they count or not."""


def cut_before(node: Node, store: Store) -> dict[str, Before]:
    """What there is of a source's files, by what their keys begin with; nothing where none is left to be cut.

    Two listings of folders for all files together. Nothing but a run of the output adds to them while one is under way,
    and whoever cuts a file once more after a worker has died at it makes the same shards.

    Args:
        node: cuts them.
        store: the output.
    """
    listed = store.committed(done_folder(node, store))
    if node.parts_by_name.keys() <= set(map(part_of, listed)):
        return {}
    names: dict[str, tuple[list[str], list[str]]] = {}
    for shard in sorted(store.committed(store.folder_of(node))):
        names.setdefault(file_of(shard), ([], []))[0].append(shard)
    for listing in sorted(listed):
        names.setdefault(part_of(listing).rpartition("-")[0], ([], []))[1].append(listing)
    return {file: Before(tuple(shards), tuple(own)) for file, (shards, own) in names.items()}


def read_listing(store: Store, folder: str, names: Sequence[str]) -> list[Counted]:
    """The shards that count, in order.

    Args:
        store: the output.
        folder: of a cut source.
        names: of listings.
    """
    with ThreadPoolExecutor(READERS) as pool:
        tables = list(pool.map(lambda name: store.artifact(f"{folder}/{PARTS}", name).table(LISTED.names), names))
    rows = (row for table in tables for row in table.to_pylist())
    return [Counted(**{**row, **{name: tuple(row[name]) for name in ("without", "forgotten")}}) for row in rows]


def forgotten_rows(counted: Iterable[Counted]) -> dict[str, set[str]]:
    """By shard, the keys of all rows that listings say are forgotten."""
    found: dict[str, set[str]] = {}
    for each in counted:
        if each.forgotten:
            found.setdefault(each.shard, set()).update(each.forgotten)
    return found


@dataclass(frozen=True)
class SourceFolders:
    """Where a stage that reads all shards at once finds those of one source; plain data, without their names."""

    source: str
    urls: str
    """The folder of the cut source."""
    parts: tuple[str, ...]
    """The source's files."""
    inputs: Mapping[str, tuple[str, ...]]
    """The folders of its inputs of the source, by role."""

    def listings(self, store: Store) -> list[str]:
        """The names of the listings that count, of its files."""
        there = latest(store.committed(f"{self.urls}/{PARTS}"))
        return [there[part] for part in self.parts]


def source_folders(node: Node, graph: Graph, store: Store) -> tuple[SourceFolders, ...]:
    """The folders of every source that a node reads, source by source."""
    inputs: dict[str, dict[str, tuple[str, ...]]] = {}
    for role, names in node.reads.items():
        for before in (graph.nodes[name] for name in names):
            if before.source is not None:
                by_role = inputs.setdefault(before.source, {})
                by_role[role] = (*by_role.get(role, ()), store.folder_of(before))
    urls = {source: graph.cutting(source) for source in inputs}
    return tuple(
        SourceFolders(source, store.folder_of(urls[source]), tuple(part.name for part in urls[source].parts), by_role)
        for source, by_role in inputs.items()
    )


def artifacts(
    store: Store, inputs: Mapping[str, Iterable[str]], shard: str, without: Iterable[str] = ()
) -> dict[str, tuple[Artifact, ...]]:
    """The artifacts of a shard, by role, that lie in some folders, without the rows of some keys."""
    gone = frozenset(without)
    return {role: tuple(store.artifact(folder, shard, gone) for folder in folders) for role, folders in inputs.items()}


def list_corpus(store: Store, sources: Iterable[SourceFolders]) -> tuple[CorpusShard, ...]:
    """Every shard of the sources that counts, with those rows of its tables that do."""
    corpus: list[CorpusShard] = []
    for found in sources:
        counted = read_listing(store, found.urls, found.listings(store))
        corpus += [
            CorpusShard(artifacts(store, found.inputs, each.shard, each.without), found.source, each.shard)
            for each in counted
        ]
    return tuple(corpus)
