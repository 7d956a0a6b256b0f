"""A stage's worker in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping

import ray

from pipeline.execute.job import Job, Report
from pipeline.execute.on_ray.board import Notice, Sign
from pipeline.execute.worker import Worker
from pipeline.store import Store
from stages import stopping
from stages.io.outages import be_patient


class StageActor:
    """A worker that Ray has started somewhere."""

    def __init__(self, store: Store, jobs: Mapping[str, Job], name: str) -> None:
        be_patient(Notice(name), store.probe)
        stopping.listen(Sign())
        self._store = store
        self._jobs = jobs
        self._worker = Worker(store, jobs)

    def arrive(self) -> str:
        """Show that the process lives, since Ray has found room for it: the id of the node."""
        node: str = ray.get_runtime_context().get_node_id()
        return node

    def prepare(self, node: str) -> None:
        """Load what the node's compute needs."""
        self._worker.prepare(node)

    def work(self, node: str, shard: str) -> Report:
        """Work one shard and commit it."""
        return self._worker.work(node, shard)
