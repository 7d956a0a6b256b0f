"""The one shard that reads the whole corpus: which tables a training stage gets, and how its result is committed."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.execution import Execution
from pipeline.schedule import Task
from pipeline.worker import Job, Report, commit, load_compute, read_listing
from stages.contract import Output
from stages.pretrain.spec import CorpusShard, PretrainJob
from stages.shards import Artifact

CHECKPOINTS = "checkpoints"


def train_here(execution: Execution, task: Task) -> Report:
    """Train in this process."""

    def train(job: Job, work: PretrainJob) -> Output:
        output: Output = load_compute(job.compute)(job.recipe, job.run)(work)
        return output

    return train_with(train, execution, task)


def train_with(train: Callable[[Job, PretrainJob], Output], execution: Execution, task: Task) -> Report:
    """Hand the corpus to `train`, and commit what it returns."""
    job, started = execution.jobs[task.node], time.monotonic()
    with tempfile.TemporaryDirectory(prefix="capfilt-") as scratch:
        work = PretrainJob(tuple(_corpus(execution, task.node)), f"{job.folder}/{CHECKPOINTS}", Path(scratch))
        return commit(execution.store, job, task.shard, train(job, work), started)


def _corpus(execution: Execution, name: str) -> list[CorpusShard]:
    """The tables of every shard of every source that the training node reads."""
    graph, store = execution.graph, execution.store
    folders: dict[str, dict[str, str]] = {}
    for before in (graph.nodes[read] for read in graph.nodes[name].inputs):
        folders.setdefault(str(before.source), {})[before.spec.name] = store.folder(
            before.spec.name, before.fingerprint
        )
    found = []
    for source, by_stage in folders.items():
        urls = graph.nodes[f"urls/{source}"]
        parts = [part.name for part in urls.parts]
        for shard in read_listing(store, store.folder("urls", urls.fingerprint), parts):
            tables = {stage: Artifact(f"{folder}/{shard}.parquet") for stage, folder in by_stage.items()}
            captions = tables.get("caption") or tables["annotate"]
            found.append(CorpusShard(source, shard, tables["download"], captions, tables["select"]))
    return found
