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
from stages.io.outages import is_outage, patiently
from stages.urls.damage import Damage
from stages.urls.parts import Part


@dataclass(frozen=True)
class Job:
    """What a worker needs to know of a node; plain data, sent to it once."""

    stage: str
    compute: str
    recipe: Recipe
    run: RunOptions
    folder: str
    inputs: Mapping[str, str]
    """Folder of every input node whose artifacts it is given one by one, by stage name."""
    metadata: Mapping[str, str]
    """What every table of the node says of itself."""
    parts: Mapping[str, Part]
    grain: Grain = "shard"
    at_once: frozenset[str] = frozenset()
    """Those of `inputs` that have one artifact for all shards."""
    sources: tuple[SourceFolders, ...] = ()
    """What it reads of sources, if it reads all shards at once."""
    recipes: Mapping[str, Recipe] = field(default_factory=dict)
    """The recipe of every node in `inputs`, by stage name."""
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
    inputs = [graph.nodes[name] for name in node.inputs]
    before = [found for found in inputs if found.spec.at_once or not node.spec.at_once]
    return Job(
        stage=node.spec.name,
        compute=node.spec.compute,
        recipe=node.recipe,
        run=node.run,
        folder=store.folder(node.spec.name, node.fingerprint),
        inputs={found.spec.name: store.folder(found.spec.name, found.fingerprint) for found in before},
        metadata=_metadata(node),
        parts={part.name: part for part in node.parts},
        grain=node.spec.grain,
        at_once=frozenset(found.spec.name for found in before if found.spec.at_once),
        sources=source_folders(node, graph, store) if node.spec.at_once else (),
        recipes={found.spec.name: found.recipe for found in before},
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

    def renew(self, node: str) -> None:
        """Build the node's compute anew before its next shard."""
        self._computes.pop(_key(self._jobs[node]), None)

    def work(self, node: str, shard: str) -> Report:
        """Work one shard and commit it; for a node of grain `file`, `shard` is a file of the source.

        A shard that fails because storage does is begun anew when that answers again.

        Raises:
            StorageLostError: it has not for a long time.
        """
        return patiently(lambda: self._watched(node, shard), passes=is_outage)

    def _watched(self, node: str, shard: str) -> Report:
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
            inputs = {
                stage: self._store.artifact(folder, CORPUS_SHARD if stage in job.at_once else shard)
                for stage, folder in job.inputs.items()
            }
            work = Shard(shard, inputs, scratch)
            if job.retried is not None:
                return self._retry(job, work, job.retried, started)
            return commit(self._store, job, shard, self._compute(job)(work), started)

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
            for name in names:
                self._store.remove(job.folder, name)
            raise
        listing = pa.table({"shard": pa.array(names, pa.string()), "rows": pa.array(rows, pa.int64())})
        counts = {"urls": sum(rows), **damage.counts}
        with scratch_folder() as scratch:
            sides = write_damage(damage, scratch)
            metadata = {**job.metadata, "counts": json.dumps(counts), DIGEST: job.parts[part].digest}
            self._store.commit(f"{job.folder}/{PARTS}", part, Output(listing, sides=sides), metadata)
        return Report(sum(rows), time.monotonic() - started, counts, tuple(names), damage.words)

    def _compute(self, job: Job) -> Any:
        key = _key(job)
        if key not in self._computes:
            self._computes[key] = load_compute(job.compute)(job.recipe, job.run)
        return self._computes[key]


def _key(job: Job) -> tuple[str, str, str]:
    """What makes the compute of two jobs the same."""
    return job.compute, job.recipe.model_dump_json(), job.run.model_dump_json()


def _successes(images: pa.Table) -> int:
    return int(pc.sum(pc.equal(images["status"], "success")).as_py() or 0)


def work_corpus(store: Store, job: Job, shard: str, compute: Callable[[CorpusJob], Output]) -> Report:
    """Hand all shards of a node's sources to `compute` at once, and commit what it returns."""
    started = time.monotonic()
    results = {stage: Result(store.artifact(folder, shard), job.recipes[stage]) for stage, folder in job.inputs.items()}
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
