"""Which shards a source has been cut into, and where their tables lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.dag.graph import Graph, Node
from pipeline.store import Store
from stages.contract import CorpusShard

PARTS = "parts"
"""The folder below a `urls` node's in which each cut file has a table that lists its shards."""


def done_folder(node: Node, store: Store) -> str:
    """Where the tables lie that say what of a node is done; of `urls`, it is a listing for every file."""
    folder = store.folder(node.spec.name, node.fingerprint)
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
    inputs: Mapping[str, str]
    """Folder of every input node of the source, by stage name."""


def source_folders(node: Node, graph: Graph, store: Store) -> tuple[SourceFolders, ...]:
    """The folders of every source that a node reads, source by source."""
    inputs: dict[str, dict[str, str]] = {}
    for before in (graph.nodes[name] for name in node.inputs):
        if before.source is not None:
            inputs.setdefault(before.source, {})[before.spec.name] = store.folder(before.spec.name, before.fingerprint)
    urls = {source: graph.nodes[f"urls/{source}"] for source in inputs}
    return tuple(
        SourceFolders(
            source,
            store.folder("urls", urls[source].fingerprint),
            tuple(part.name for part in urls[source].parts),
            by_stage,
        )
        for source, by_stage in inputs.items()
    )


def list_corpus(store: Store, sources: Iterable[SourceFolders]) -> tuple[CorpusShard, ...]:
    """Every shard of the sources, with its tables."""
    return tuple(
        CorpusShard(
            found.source, shard, {stage: store.artifact(folder, shard) for stage, folder in found.inputs.items()}
        )
        for found in sources
        for shard in read_listing(store, found.urls, found.parts)
    )
