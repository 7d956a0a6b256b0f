"""Works one shard: builds the compute, hands it the committed inputs, commits what it returns.

Both executors run this; only where differs. The driver sends names, the images stay in storage.
"""

from __future__ import annotations

import importlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.dag.damaged import write_damage
from pipeline.dag.lineage import checkpoints_at
from pipeline.dag.listing import (
    PARTS,
    Before,
    forgotten_rows,
    list_corpus,
    listing_table,
    read_listing,
)
from pipeline.dag.stale import EARLIER, LISTINGS
from pipeline.dag.verdicts import DATA, replaced
from pipeline.execute.gpu import GpuWatch
from pipeline.execute.job import Job, Report
from pipeline.store import Store
from stages.contract import CorpusJob, Output, Recipe, Result, Shard, models_from
from stages.errors import UserError
from stages.io.files import SCRATCH, fetch_folder, scratch_folder
from stages.io.outages import is_outage, patiently
from stages.io.shards import Artifact
from stages.tables import CHECKPOINT, RETRY
from stages.training.lineage import Listings, earlier_listings, write_listings
from stages.training.progress import images_since, read_progress
from stages.urls.damage import Damage
from stages.urls.known import Counted, Held, Known
from stages.urls.parts import Part


def load_compute(reference: str) -> Any:
    """The class that `"module:Class"` names, imported only where it runs."""
    module, name = reference.split(":")
    return getattr(importlib.import_module(module), name)


class Worker:
    """Holds the computes that it has built, by job, so that a model is loaded once per worker."""

    def __init__(self, store: Store, jobs: Mapping[str, Job]) -> None:
        self._store = store
        self._jobs = jobs
        self._computes: dict[tuple[str, str, str, str], Any] = {}
        self._models = Models(store)

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
            work = Shard(self._inputs(job, shard), shard, scratch, job.writer)
            return commit(self._store, job, shard, self._compute(job)(work), started)

    def _inputs(self, job: Job, shard: str) -> dict[str, tuple[Artifact, ...]]:
        return {
            role: tuple(place.artifact(self._store, shard) for place in places) for role, places in job.inputs.items()
        }

    def _cut(self, job: Job, name: str, started: float) -> Report:
        """Commit the URL shards of what is new in a file, then the table that lists all: that one says it is done."""
        part, cut = job.parts[name], list[Counted]()
        damage, known = Damage(part.place), self._known(job, part)
        try:
            for shard, table in self._compute(job)(part, damage, known):
                commit(self._store, job, shard, Output(table, counts={"rows": table.num_rows}), started)
                cut.append(Counted(shard, table.num_rows))
        except UserError:  # it is broken behind these rows, for whoever tries
            for found in cut:
                self._store.remove(job.folder, found.shard, listed=())  # URL shards have no side files
            raise
        counted = [*known.counted(), *cut]
        counts = {
            "rows": sum(found.rows for found in counted),
            "new": sum(found.rows for found in cut),
            **damage.counts,
        }
        with scratch_folder() as scratch:
            sides = write_damage(damage, scratch)
            metadata = {**job.metadata, "counts": json.dumps(counts), "digest": part.digest}
            self._store.commit(f"{job.folder}/{PARTS}", name, Output(listing_table(counted), sides=sides), metadata)
        seconds, shards = time.monotonic() - started, tuple(found.shard for found in counted)
        return Report(counts["rows"], seconds, counts, shards, damage.words)

    def _known(self, job: Job, part: Part) -> Known:
        """The rows of a file that are in shards already."""
        before = job.before.get(part.file, Before())
        held = (self._held(job, shard) for shard in before.shards)
        return Known(part.file, held, forgotten_rows(read_listing(self._store, job.folder, before.listings)))

    def _held(self, job: Job, shard: str) -> Held:
        table = self._store.artifact(job.folder, shard).table(["key"])
        retry = int((table.schema.metadata or {}).get(RETRY.encode(), 0))
        return Held(shard, table["key"].to_pylist(), retry)

    def _compute(self, job: Job) -> Any:
        key = _key(job)
        if key not in self._computes:
            self._computes[key] = load_compute(job.compute)(self._models.found(job), job.run)
        return self._computes[key]


def _key(job: Job) -> tuple[str, str, str, str]:
    """What makes the compute of two jobs the same."""
    models = json.dumps({role: [place.folder, place.whole] for role, (place, _) in job.results.items()})
    return job.compute, job.recipe.model_dump_json(), job.run.model_dump_json(), models


class Models:
    """The models that other steps have made, on this host.

    Args:
        store: the output that they lie in.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._copies: dict[str, tempfile.TemporaryDirectory[str]] = {}

    def found(self, job: Job) -> Recipe:
        """A job's recipe, in which every model that another step makes is a local folder.

        Raises:
            UserError: a model is not there, or not whole.
        """
        wanted = models_from(job.recipe)
        return job.recipe.model_copy(update={name: self._folder(job, name, step) for name, step in wanted.items()})

    def _folder(self, job: Job, name: str, step: str) -> str:
        place, _ = job.results[name]
        try:
            url = place.artifact(self._store, "").side(CHECKPOINT)
        except (FileNotFoundError, KeyError):
            raise UserError(f"{job.stage}.{name}: the model of '{step}' is not there; run that step first") from None
        if self._store.is_local:
            return url
        if url not in self._copies:
            copy = tempfile.TemporaryDirectory(prefix=f"{SCRATCH}{os.getpid()}-")
            fetch_folder(url, Path(copy.name) / "model")
            self._copies[url] = copy
        return f"{self._copies[url].name}/model"


def work_corpus(store: Store, job: Job, name: str, compute: Callable[[CorpusJob], Output]) -> Report:
    """Hand all shards of a node's sources to `compute` at once, and commit what it returns."""
    started = time.monotonic()
    results = {role: Result(place.artifact(store, name), recipe) for role, (place, recipe) in job.results.items()}
    with scratch_folder() as scratch:
        corpus, sources = list_corpus(store, job.sources), tuple(found.source for found in job.sources)
        read = {found.source: found.listings(store) for found in job.sources}
        work = CorpusJob(corpus, checkpoints_at(job.folder, job.data), scratch, results, sources)
        output, told, trained = train(compute, work, read) if job.is_model else (compute(work), {}, None)
        before = replaced(store, job, name, output.table) if job.grain == "source" else None
        job = replace(job, metadata={**job.metadata, LISTINGS: json.dumps(read), **told})
        return replace(commit(store, job, name, output, started, instead_of=before), trained=trained)


def train(
    compute: Callable[[CorpusJob], Output], work: CorpusJob, read: Listings
) -> tuple[Output, dict[str, str], int | None]:
    """Have a model trained.

    Args:
        compute: trains it.
        work: what it is given.
        read: the listings of that, by source.

    Returns:
        What came of it, what else its table says of itself, and how many images were trained on now (None: not told).
    """
    write_listings(work.checkpoints, read)
    before = read_progress(work.checkpoints)
    output = compute(work)
    trained = images_since(before, read_progress(work.checkpoints))
    return output, {EARLIER: json.dumps(earlier_listings(work.checkpoints))}, trained


def commit(  # noqa: PLR0913 - what a commit is made of, each with its name
    store: Store, job: Job, shard: str, output: Output, started: float, *, instead_of: str | None = None
) -> Report:
    """Commit a shard's output with what the table says of itself, and report it."""
    seconds = time.monotonic() - started
    counts = {name: int(count) for name, count in output.counts.items()}
    metadata = {**job.metadata, "counts": json.dumps(counts), "seconds": f"{seconds:.3f}"}
    metadata |= {DATA: job.data} if job.data else {}
    store.commit(job.folder, shard, output, metadata, instead_of=instead_of)
    return Report(output.table.num_rows, seconds, counts)
