"""Which shards a source has been cut into, and where their tables lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.dag.graph import Graph, Node
from pipeline.store import Store
from stages.contract import CorpusShard
from stages.io.shards import Artifact

PARTS = "parts"
"""The folder below a `urls` node's in which each cut file has a table that lists its shards."""


def done_folder(node: Node, store: Store) -> str:
    """Where the tables lie that say what of a node is done; of `urls`, it is a listing for every file."""
    folder = store.folder_of(node)
    return f"{folder}/{PARTS}" if node.spec.grain == "file" else folder


def read_listing(store: Store, folder: str, parts: Sequence[str]) -> list[str]:
    """The URL shards of a source, in order, from the listings of its cut files."""
    tables = [store.artifact(f"{folder}/{PARTS}", part).table(["shard"]) for part in parts]
    return [name for table in tables for name in table.column("shard").to_pylist()]


@dataclass(frozen=True)
class SourceFolders:
    """Where a stage that reads all shards at once finds those of one source; plain data, without their names."""

    source: str
    urls: str
    """The folder of the source's `urls` node."""
    parts: tuple[str, ...]
    """The source's files."""
    inputs: Mapping[str, tuple[str, ...]]
    """The folders of its inputs of the source, by role."""


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


def artifacts(store: Store, inputs: Mapping[str, Iterable[str]], shard: str) -> dict[str, tuple[Artifact, ...]]:
    """The artifacts of a shard by role, of the folders by role."""
    return {role: tuple(store.artifact(folder, shard) for folder in folders) for role, folders in inputs.items()}


def list_corpus(store: Store, sources: Iterable[SourceFolders]) -> tuple[CorpusShard, ...]:
    """Every shard of the sources, with its tables."""
    return tuple(
        CorpusShard(artifacts(store, found.inputs, shard), found.source, shard)
        for found in sources
        for shard in read_listing(store, found.urls, found.parts)
    )
