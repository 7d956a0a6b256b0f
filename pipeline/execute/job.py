"""What a worker is told of a node, once, and what it tells of a shard: plain data, which travels between processes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version

from pipeline.dag.graph import Graph, Node
from pipeline.dag.listing import Before, SourceFolders, cut_before, source_folders
from pipeline.store import Store
from stages.contract import Grain, Recipe, RunOptions, models_from
from stages.io.shards import Artifact
from stages.urls.parts import Part


@dataclass(frozen=True)
class Place:
    """Where artifacts lie that a job reads."""

    folder: str
    whole: str | None
    """The name of the one for all shards; None where there is one for each."""

    def artifact(self, store: Store, shard: str) -> Artifact:
        """The artifact that goes with a shard."""
        return store.artifact(self.folder, self.whole or shard)


@dataclass(frozen=True)
class Job:
    """What a worker needs to know of a node; plain data, sent to it once."""

    stage: str
    compute: str
    recipe: Recipe
    run: RunOptions
    folder: str
    writer: str
    """The node's fingerprint."""
    inputs: Mapping[str, tuple[Place, ...]]
    """By role, where the artifacts lie that it is given with every shard."""
    metadata: Mapping[str, str]
    """What every table of the node says of itself."""
    parts: Mapping[str, Part]
    before: Mapping[str, Before] = field(default_factory=dict)
    """By file, what there is of it from when it was cut before."""
    grain: Grain = "shard"
    is_model: bool = False
    """Whether it is trained."""
    sources: tuple[SourceFolders, ...] = ()
    """What it reads of sources, if it reads all shards at once."""
    results: Mapping[str, tuple[Place, Recipe]] = field(default_factory=dict)
    """By role, place and recipe of what it reads that itself was made of all sources at once."""
    data: str = ""
    """What stands for the rows that are read, where all are read at once."""


@dataclass(frozen=True)
class Report:
    """What became of a shard."""

    rows: int
    seconds: float
    counts: Mapping[str, int] = field(default_factory=dict)
    shards: tuple[str, ...] = ()
    """The URL shards that a file was cut into."""
    damage: str = ""
    """What of a file was left out, in words."""
    trained: int | None = None
    """Images that a training has seen in this run; None where nothing is trained."""
    gpu: float | None = None
    """The share of the time, in [0, 1], in which a kernel ran on the worker's GPUs; None without one."""

    @property
    def images(self) -> int:
        """How many images the shard was about, for the display's rate."""
        return self.counts.get("images", self.rows) if self.trained is None else self.trained


def make_job(node: Node, graph: Graph, store: Store) -> Job:
    """The job of a node."""
    by_role = {role: [graph.nodes[name] for name in names] for role, names in node.reads.items()}
    models = models_from(node.recipe)
    whole = {role: before[0] for role, before in by_role.items() if before[0].source is None}
    return Job(
        stage=node.spec.name,
        compute=node.spec.compute,
        recipe=node.recipe,
        run=node.run,
        folder=store.folder_of(node),
        writer=node.fingerprint,
        inputs={
            role: tuple(Place(store.folder_of(found), found.whole if found.spec.at_once else None) for found in before)
            for role, before in by_role.items()
            if role not in models and not node.spec.at_once
        },
        metadata=_metadata(node),
        parts=node.parts_by_name,
        before=cut_before(node, store) if node.spec.grain == "file" else {},
        grain=node.spec.grain,
        is_model=node.is_model,
        sources=source_folders(node, graph, store) if node.spec.at_once else (),
        results={role: (Place(store.folder_of(found), found.whole), found.recipe) for role, found in whole.items()},
        data=node.data,
    )


def _metadata(node: Node) -> dict[str, str]:
    return {
        "stage": node.spec.name,
        "stage_version": str(node.spec.version),
        "source": node.source or "",
        "fingerprint": node.fingerprint,
        "recipe": json.dumps(node.identity["recipe"], sort_keys=True),
        "inputs": json.dumps(node.identity["inputs"], sort_keys=True),
        "capfilt_version": version("capfilt"),
    }
