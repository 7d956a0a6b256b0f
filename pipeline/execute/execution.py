"""What both executors share: the state of one run, and what follows when a shard ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from pipeline.dag.graph import Graph, Node
from pipeline.dag.listing import done_folder, listings, read_listing
from pipeline.execute.events import Event, Listener
from pipeline.execute.schedule import Schedule, Task
from pipeline.execute.stop import Stop
from pipeline.execute.worker import Job, Report, make_job
from pipeline.store import Store
from stages.errors import UserError


class RunLostError(Exception):
    """What the run ran on is gone. What is committed stays, and the same command goes on."""


@dataclass(frozen=True)
class Execution:
    """One run: what there is to do, where it goes, how far it is."""

    graph: Graph
    store: Store
    schedule: Schedule
    stop: Stop

    @cached_property
    def jobs(self) -> dict[str, Job]:
        """The job of every node, by name."""
        return {name: make_job(node, self.graph, self.store) for name, node in self.graph.nodes.items()}

    def is_training(self, node: str) -> bool:
        """Whether several workers do the node's work together."""
        return self.graph.nodes[node].spec.workers == "group"

    def succeeded(self, task: Task, report: Report, listener: Listener) -> None:
        """A shard is committed."""
        self.schedule.succeeded(task)
        self._open_source(self.graph.nodes[task.node])
        listener(Event("done", task.node, task.shard, report), self.schedule)

    def _open_source(self, node: Node) -> None:
        """Open the shards of a source to the other stages once its last file is cut, or has failed."""
        state = self.schedule.nodes[node.name]
        if node.spec.grain != "file" or node.source is None or not state.is_finished:
            return
        counted = read_listing(self.store, self.jobs[node.name].folder, listings(node, self.store))
        shards = [found.shard for found in counted]
        if not shards and not state.failed:
            raise UserError(f"sources.{node.source}: not one row is left of the list; check its path and its 'where'")
        self.schedule.cut(node.source, shards, sorted(state.failed))

    def failed(self, task: Task, error: str, listener: Listener, *, final: bool = False) -> None:
        """An attempt failed; after the last one (or at once, if `final`) the failure is recorded beside the tables."""
        attempts = 1 if final else self.graph.nodes[task.node].run.attempts
        self._after(task, error, self.schedule.failed(task, error, attempts=attempts), listener)

    def lost(self, task: Task, error: str, listener: Listener) -> None:
        """The worker died under the shard."""
        self._after(task, error, self.schedule.lost(task, error), listener)

    def _after(self, task: Task, error: str, again: bool, listener: Listener) -> None:  # noqa: FBT001
        node = self.graph.nodes[task.node]
        error = _with_file(node, task.shard, error)
        if not again:
            failure = {
                "error": error,
                "attempts": self.schedule.attempts(task),
                "time": time.strftime("%FT%TZ", time.gmtime()),
            }
            self.store.record_failure(done_folder(node, self.store), task.shard, failure)
            self._open_source(node)
        listener(Event("retried" if again else "failed", task.node, task.shard, error=error), self.schedule)


def _with_file(node: Node, shard: str, error: str) -> str:
    """What went wrong, with the file that it went wrong in where that is not said."""
    files = next((part.files for part in node.parts if part.name == shard), ())
    return f"{node.place(shard)}: {error}" if files and not any(file in error for file in files) else error


Executor = Callable[[Execution, Listener], None]
"""Works everything that is left of an execution; `run_locally` and `run_on_ray` are the two."""
