"""What both executors share: the state of one run, and what follows when a shard ends."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import cached_property

from pipeline.dag.graph import Graph, Node
from pipeline.dag.listing import done_folder, listings, read_listing
from pipeline.execute.crew import Crew, Verdict
from pipeline.execute.events import Event, Listener, one_line
from pipeline.execute.job import Job, Report, make_job
from pipeline.execute.retries import Retries
from pipeline.execute.schedule import Schedule
from pipeline.execute.stop import Stop
from pipeline.execute.task import HERE, Hand, Task
from pipeline.store import Store
from stages.errors import UserError
from stages.io.files import remove, write_whole
from stages.io.outages import hurry, reason


class RunLostError(Exception):
    """What the run ran on is gone. What is committed stays, and the same command goes on."""


@dataclass(frozen=True)
class Execution:
    """One run: what there is to do, where it goes, how far it is."""

    graph: Graph
    store: Store
    schedule: Schedule
    stop: Stop
    retries: Retries = field(default_factory=Retries)
    crews: dict[str, Crew] = field(default_factory=dict)
    """The workers of every step that has begun."""

    @cached_property
    def jobs(self) -> dict[str, Job]:
        """The job of every node, by name."""
        return {name: make_job(node, self.graph, self.store) for name, node in self.graph.nodes.items()}

    def is_training(self, node: str) -> bool:
        """Whether several workers do the node's work together."""
        return self.graph.nodes[node].spec.workers == "group"

    def step_of(self, node: str) -> str:
        """The stage whose workers do a node's work."""
        return self.graph.nodes[node].step

    def crew(self, stage: str) -> Crew:
        """The workers of a stage."""
        return self.crews.setdefault(stage, Crew())

    def succeeded(self, task: Task, report: Report, listener: Listener, *, by: Hand = HERE) -> None:
        """A shard is committed."""
        self.crew(self.step_of(task.node)).succeeded(by.name)
        self.schedule.succeeded(task)
        self._open_source(self.graph.nodes[task.node])
        listener(Event("done", task.node, task.shard, report), self.schedule)

    def _open_source(self, node: Node) -> None:
        """Open the shards of a source to the other stages once its last file is cut, or cannot be."""
        state = self.schedule.nodes[node.name]
        if node.spec.grain != "file" or node.source is None or not state.is_finished:
            return
        counted = read_listing(self.store, self.jobs[node.name].folder, listings(node, self.store))
        shards = [found.shard for found in counted]
        not_cut = state.blocked.union(state.failed)
        if not shards and not not_cut:
            raise no_row(node.source)
        self.schedule.cut(node.source, shards, sorted(not_cut))

    def failed(
        self, task: Task, error: Exception, listener: Listener, *, by: Hand = HERE, others: Collection[Hand] = ()
    ) -> Verdict:
        """A worker raised at a shard; after the last attempt the failure is recorded beside the tables.

        Args:
            task: the shard.
            error: what was raised. A user's mistake is no better at the next attempt: another worker's opinion on it
                is asked, if there is one, and that is all.
            listener: hears of it.
            by: the worker.
            others: those beside it.

        Returns:
            Of the worker: `sick` if another one should take its place, `hopeless` if the stage should stop.
        """
        node = self.graph.nodes[task.node]
        if isinstance(error, UserError):
            attempts = min(node.run.attempts, 2) if others else 1
            self._after(task, one_line(error), self.retries.failed(task, by, attempts), listener)
            return "well"
        again = self.retries.failed(task, by, node.run.attempts)
        last = self.retries.errors(task) == node.run.attempts - 1
        crew = self.crew(node.step)
        verdict = crew.failed(by.name, task, [other.name for other in others], last=last)
        if verdict == "hopeless" and not self._has_untried(node.step):
            verdict = "well"  # nothing is left but shards that failed before; each has its attempts
        elif verdict == "hopeless":
            again = True  # and blocked, when the stage stops: nobody knows whether it is bad
        elif verdict == "sick" and (blamed := crew.blamed_for(by.name)):
            self.retries.forgive(blamed)
            again = True
        self._after(task, one_line(error), again, listener)
        return verdict

    def _has_untried(self, stage: str) -> bool:
        ready = (Task(node, shard) for node in self.nodes_of(stage) for shard in self.schedule.nodes[node].ready)
        return any(not self.retries.attempts(task) for task in ready)

    def nodes_of(self, stage: str) -> list[str]:
        """The nodes of a stage, in the order of the graph."""
        return [name for name in self.graph.nodes if self.step_of(name) == stage]

    def check_progress(self) -> None:
        """See that something is left to be begun, where nothing is under way and the run is not over.

        Raises:
            RuntimeError: nothing is, which would be a mistake in the schedule.
        """
        if not any(state.ready for state in self.schedule.nodes.values()):
            raise RuntimeError("shards are left that nothing will run")

    def late(self, task: Task, error: str, listener: Listener, *, by: Hand) -> None:
        """An attempt ran past its deadline."""
        attempts = self.graph.nodes[task.node].run.attempts
        self._after(task, error, self.retries.failed(task, by, attempts), listener)

    def lost(self, task: Task, error: str, listener: Listener, *, by: Hand) -> None:
        """The worker died under the shard."""
        self._after(task, error, self.retries.lost(task, by), listener)

    def cannot_write(self, task: Task) -> str:
        """Why this process can write nothing where a shard's table goes, as one line; "" if it can."""
        url = f"{done_folder(self.graph.nodes[task.node], self.store)}/.probe.{uuid.uuid4().hex[:12]}"
        try:
            with hurry():
                write_whole(url, b"")
                remove(url)
        except Exception as error:  # noqa: BLE001 - every kind of storage has errors of its own
            return reason(error)
        return ""

    def stop_stage(self, stage: str, reason: str, listener: Listener) -> None:
        """Begin no shard of a stage any more; what does not read it goes on."""
        for name in self.nodes_of(stage):
            if not self.schedule.nodes[name].is_finished:
                self.schedule.stop(name, reason)
                self._open_source(self.graph.nodes[name])
        listener(Event("stopped", stage, error=reason), self.schedule)

    def _after(self, task: Task, error: str, again: bool, listener: Listener) -> None:  # noqa: FBT001
        node = self.graph.nodes[task.node]
        told = _with_file(node, task.shard, error)
        if again:
            self.schedule.again(task)
        else:
            self.schedule.failed(task, error)
            failure = {
                "error": told,
                "attempts": self.retries.attempts(task),
                "time": time.strftime("%FT%TZ", time.gmtime()),
            }
            self.store.record_failure(done_folder(node, self.store), task.shard, failure)
        self._open_source(node)
        listener(Event("retried" if again else "failed", task.node, task.shard, error=told), self.schedule)


def no_row(source: str) -> UserError:
    """What is said of a list of which nothing is left."""
    return UserError(f"sources.{source}: not one row is left of the list; check its path and its 'where'")


def hopeless(error: str) -> str:
    """Why a stage stops whose workers fail alike."""
    return f"its workers fail one after the other, and none is well: {error}; the same command goes on"


def _with_file(node: Node, shard: str, error: str) -> str:
    """What went wrong, with the file that it went wrong in where that is not said."""
    part = node.parts_by_name.get(shard)
    return error if part is None or any(file in error for file in part.files) else f"{part.place}: {error}"


Executor = Callable[[Execution, Listener], None]
"""Works everything that is left of an execution; `run_locally` and `run_on_ray` are the two."""
