"""Works one shard: builds the compute, hands it the committed inputs, commits what it returns.

Both executors run this; only where differs. The driver sends names, the images stay in storage.
"""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.dag.damaged import write_damage
from pipeline.dag.graph import Graph, Node
from pipeline.dag.lineage import CHECKPOINTS, Descendant
from pipeline.dag.listing import PARTS, SourceFolders, list_corpus, source_folders
from pipeline.dag.plan import CORPUS_SHARD
from pipeline.dag.repaired import DIGEST
from pipeline.execute.gpu import GpuWatch
from pipeline.store import Store
from stages.contract import CorpusJob, Grain, Output, Recipe, Result, Retry, RunOptions, Shard
from stages.errors import UserError
from stages.io.files import scratch_folder
from stages.io.shards import Artifact
from stages.urls.damage import Damage
from stages.urls.parts import Part


@dataclass(frozen=True)
class Place:
    """Where artifacts lie that a job reads."""

    folder: str
    at_once: bool
    """Whether there is one for all shards."""

    def artifact(self, store: Store, shard: str) -> Artifact:
        """The artifact that goes with a shard."""
        return store.artifact(self.folder, CORPUS_SHARD if self.at_once else shard)


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
    grain: Grain = "shard"
    sources: tuple[SourceFolders, ...] = ()
    """What it reads of sources, if it reads all shards at once."""
    results: Mapping[str, tuple[str, Recipe]] = field(default_factory=dict)
    """By role, folder and recipe of what it reads that itself was made of all sources at once."""
    retried: tuple[Descendant, ...] | None = None
    """If its shards are committed ones of which rows are tried again: what was made of them."""


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
    gpu: float | None = None
    """The share of the time, in [0, 1], in which a kernel ran on the worker's GPUs; None without one."""

    @property
    def images(self) -> int:
        """How many images the shard was about, for the display's rate."""
        return self.counts.get("images", self.rows)


def make_job(node: Node, graph: Graph, store: Store) -> Job:
    """The job of a node."""
    by_role = {role: [graph.nodes[name] for name in names] for role, names in node.reads.items()}
    whole = {role: before[0] for role, before in by_role.items() if before[0].source is None}
    return Job(
        stage=node.spec.name,
        compute=node.spec.compute,
        recipe=node.recipe,
        run=node.run,
        folder=store.folder_of(node),
        writer=node.fingerprint,
        inputs={
            role: tuple(Place(store.folder_of(found), found.spec.at_once) for found in before)
            for role, before in by_role.items()
            if role not in whole and not node.spec.at_once
        },
        metadata=_metadata(node),
        parts={part.name: part for part in node.parts},
        grain=node.spec.grain,
        sources=source_folders(node, graph, store) if node.spec.at_once else (),
        results={role: (store.folder_of(found), found.recipe) for role, found in whole.items()},
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


def load_compute(reference: str) -> Any:
    """The class that `"module:Class"` names, imported only where it runs."""
    module, name = reference.split(":")
    return getattr(importlib.import_module(module), name)


class Worker:
    """Holds the computes that it has built, by job, so that a model is loaded once per worker."""

    def __init__(self, store: Store, jobs: Mapping[str, Job]) -> None:
        self._store = store
        self._jobs = jobs
        self._computes: dict[tuple[str, str, str], Any] = {}

    def prepare(self, node: str) -> None:
        """Build the node's compute ahead of its first shard.

        Raises:
            UserError: a model is missing.
        """
        self._compute(self._jobs[node])

    def work(self, node: str, shard: str) -> Report:
        """Work one shard and commit it; for a `urls` node `shard` is a file of the source."""
        with GpuWatch() as watch:
            report = self._work(node, shard)
        return replace(report, gpu=watch.share)

    def _work(self, node: str, shard: str) -> Report:
        job, started = self._jobs[node], time.monotonic()
        if job.grain == "file":
            return self._cut(job, shard, started)
        if job.grain != "shard":
            return work_corpus(self._store, job, shard, self._compute(job))
        with scratch_folder() as scratch:
            work = Shard(self._inputs(job, shard), shard, scratch, job.writer)
            if job.retried is not None:
                return self._retry(job, work, job.retried, started)
            return commit(self._store, job, shard, self._compute(job)(work), started)

    def _inputs(self, job: Job, shard: str) -> dict[str, tuple[Artifact, ...]]:
        return {
            role: tuple(place.artifact(self._store, shard) for place in places) for role, places in job.inputs.items()
        }

    def _retry(self, job: Job, work: Shard, descendants: Sequence[Descendant], started: float) -> Report:
        """Try rows of a committed shard again.

        In this order it can die anywhere and be done once more: what was made of the shard goes before its table
        changes; the side files before and the mark go after.
        """
        before = self._store.artifact(job.folder, work.name)
        retry = Retry(before, self._store.mark_of(job.folder, work.name))
        output = self._compute(job)(replace(work, retry=retry))
        if _successes(output.table) != _successes(before.table(["status"])):
            for descendant in descendants:
                descendant.remove(self._store, work.name)
        attempt = before.metadata()["attempt"]
        report = commit(self._store, job, work.name, output, started, instead_of=attempt)
        self._store.remove_strays(job.folder, work.name)
        self._store.unmark(job.folder, work.name)
        return report

    def _cut(self, job: Job, part: str, started: float) -> Report:
        """Commit the URL shards of one file, then the table that lists them: that one says the file is done."""
        names, rows = list[str](), list[int]()
        damage = Damage(job.parts[part].place)
        try:
            for name, table in self._compute(job)(job.parts[part], damage):
                commit(self._store, job, name, Output(table, counts={"urls": table.num_rows}), started)
                names.append(name)
                rows.append(table.num_rows)
        except UserError:  # it is broken behind these rows, for whoever tries
            listed = self._store.names_by_shard(job.folder)
            for name in names:
                self._store.remove(job.folder, name, listed.get(name, ()))
            raise
        listing = pa.table({"shard": pa.array(names, pa.string()), "rows": pa.array(rows, pa.int64())})
        counts = {"urls": sum(rows), **damage.counts}
        with scratch_folder() as scratch:
            sides = write_damage(damage, scratch)
            metadata = {**job.metadata, "counts": json.dumps(counts), DIGEST: job.parts[part].digest}
            self._store.commit(f"{job.folder}/{PARTS}", part, Output(listing, sides=sides), metadata)
        return Report(sum(rows), time.monotonic() - started, counts, tuple(names), damage.words)

    def _compute(self, job: Job) -> Any:
        key = (job.compute, job.recipe.model_dump_json(), job.run.model_dump_json())
        if key not in self._computes:
            self._computes[key] = load_compute(job.compute)(job.recipe, job.run)
        return self._computes[key]


def _successes(images: pa.Table) -> int:
    return int(pc.sum(pc.equal(images["status"], "success")).as_py() or 0)


def work_corpus(store: Store, job: Job, shard: str, compute: Callable[[CorpusJob], Output]) -> Report:
    """Hand all shards of a node's sources to `compute` at once, and commit what it returns."""
    started = time.monotonic()
    results = {role: Result(store.artifact(folder, shard), recipe) for role, (folder, recipe) in job.results.items()}
    with scratch_folder() as scratch:
        work = CorpusJob(list_corpus(store, job.sources), f"{job.folder}/{CHECKPOINTS}", scratch, results)
        return commit(store, job, shard, compute(work), started)


def commit(  # noqa: PLR0913 - what a commit is made of, each with its name
    store: Store, job: Job, shard: str, output: Output, started: float, *, instead_of: str | None = None
) -> Report:
    """Commit a shard's output with what the table says of itself, and report it."""
    seconds = time.monotonic() - started
    counts = {name: int(count) for name, count in output.counts.items()}
    metadata = {**job.metadata, "counts": json.dumps(counts), "seconds": f"{seconds:.3f}"}
    store.commit(job.folder, shard, output, metadata, instead_of=instead_of)
    return Report(output.table.num_rows, seconds, counts)
