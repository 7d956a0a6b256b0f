"""Which shard goes next: a state machine over node and shard names, without clocks, workers or storage.

A shard of a node is ready when the same shard of every input node is done, or the whole of one that works all shards at
once. A node is not fed while a node that reads from it has a full queue, so that no stage runs far ahead of the next
one and fills the disk.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.dag.graph import Graph
from pipeline.dag.plan import NodePlan
from pipeline.execute.task import Task
from pipeline.execute.waiting import Waiting


@dataclass
class NodeState:
    """Where the shards of one node are."""

    ready: deque[str] = field(default_factory=deque)
    running: set[str] = field(default_factory=set)
    done: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    """Shard -> what went wrong."""
    blocked: set[str] = field(default_factory=set)
    """Shards that can not run: an input of theirs failed, their stage has stopped, or their file could not be cut."""
    total: int | None = None
    """How many shards there are; None while the source has not been cut."""
    stopped: str = ""
    """Why no shard of it is begun any more, as one line."""

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will happen here."""
        return self.total is not None and len(self.done) + len(self.failed) + len(self.blocked) == self.total


class Schedule:
    """The run's state. An executor asks `take`, and tells `succeeded`, `again` or `failed`."""

    def __init__(self, graph: Graph, plans: Sequence[NodePlan]) -> None:
        self._graph = graph
        self._waiting = Waiting(graph)
        self.nodes: dict[str, NodeState] = {name: NodeState() for name in graph.nodes}
        self._uncut = {plan.node.source for plan in plans if plan.node.spec.grain == "file" and not plan.is_done}
        self._done = {plan.node.name: plan.done for plan in plans}
        for plan in plans:
            self._open(plan)

    def _open(self, plan: NodePlan) -> None:
        node, state = plan.node, self.nodes[plan.node.name]
        if node.spec.grain == "file":
            state.total = len(node.parts)
            state.done.update(plan.done)
            state.ready.extend(plan.missing or ())
        elif node.spec.at_once:
            state.total = 1
            if plan.is_done:
                state.done.add(node.whole)
            else:
                self._offer_corpus(node.name)
        elif plan.shards is not None and node.source not in self._uncut:
            self._add(node.name, plan.shards, ())

    def cut(self, source: str, shards: Sequence[str], failed: Collection[str] = ()) -> None:
        """Open the shards of a source to the nodes that read them.

        Args:
            source: all files of which have been tried.
            shards: the URL shards that they were cut into.
            failed: the files that could not be cut. What a node would have made of one is blocked.
        """
        for name, node in self._graph.nodes.items():
            if node.source == source and node.spec.grain == "shard":
                self._add(name, shards, failed)
        self._offer_readers_of_all()

    def _add(self, name: str, shards: Sequence[str], failed: Collection[str]) -> None:
        state = self.nodes[name]
        state.total = len(shards) + len(failed)
        state.blocked.update(failed)
        self._waiting.open(name, shards)
        for shard in shards:
            task = Task(name, shard)
            if shard in self._done[name]:
                state.done.add(shard)
            elif state.stopped or any(
                need.shard in self.nodes[need.node].blocked for need in self._waiting.needs(task)
            ):
                state.blocked.add(shard)
            elif not self._waiting.hold(task, self._is_done):
                state.ready.append(shard)

    def _is_done(self, task: Task) -> bool:
        return self._graph.nodes[task.node].spec.grain == "file" or task.shard in self.nodes[task.node].done

    def take(
        self, name: str, *, limit: Mapping[str, int] | None = None, fits: Callable[[Task], bool] = lambda _: True
    ) -> Task | None:
        """The node's next shard, now running; None if there is none, or a reader's queue is full.

        Args:
            name: a node.
            limit: how many ready shards each reading node may have waiting; a node that is not named has no limit.
            fits: whether a ready shard is one that is wanted now.
        """
        state = self.nodes[name]
        for reader in self._waiting.readers[name]:
            if limit and reader in limit and len(self.nodes[reader].ready) >= limit[reader]:
                return None
        for place, shard in enumerate(state.ready):
            if fits(Task(name, shard)):
                del state.ready[place]
                state.running.add(shard)
                return Task(name, shard)
        return None

    def succeeded(self, task: Task) -> None:
        """The shard is committed."""
        state = self.nodes[task.node]
        state.running.discard(task.shard)
        state.done.add(task.shard)
        for ready in self._waiting.done(task):
            self.nodes[ready.node].ready.append(ready.shard)
        if state.is_finished:
            self._offer_readers_of_all()

    def again(self, task: Task) -> None:
        """An attempt failed, and there will be another one."""
        state = self.nodes[task.node]
        state.running.discard(task.shard)
        if state.stopped:
            self._block([task, *self._waiting.never(task)])
        else:
            state.ready.append(task.shard)

    def failed(self, task: Task, error: str) -> None:
        """The shard has failed for good. What reads it is blocked."""
        state = self.nodes[task.node]
        state.running.discard(task.shard)
        state.failed[task.shard] = error
        self._block(self._waiting.never(task))

    def stop(self, name: str, reason: str) -> None:
        """Begin no shard of a node any more: those that are not under way are blocked, and what reads them."""
        state = self.nodes[name]
        state.stopped = reason
        left = [Task(name, shard) for shard in state.ready] + self._waiting.drop(name)
        state.ready.clear()
        self._block([*left, *(reader for task in left for reader in self._waiting.never(task))])

    def _block(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            self.nodes[task.node].blocked.add(task.shard)
        self._offer_readers_of_all()

    def _offer_readers_of_all(self) -> None:
        for name, node in self._graph.nodes.items():
            if node.spec.at_once:
                self._offer_corpus(name)

    def _offer_corpus(self, name: str) -> None:
        """Make a node that works all shards at once ready, or blocked, once its inputs have finished."""
        state = self.nodes[name]
        if state.done or state.ready or state.running or state.failed or state.blocked:
            return
        inputs = [self.nodes[before] for before in self._graph.nodes[name].inputs]
        if all(found.is_finished for found in inputs):
            if state.stopped or any(found.failed or found.blocked for found in inputs):
                task = Task(name, self._graph.nodes[name].whole)
                self._block([task, *self._waiting.never(task)])
            else:
                state.ready.append(self._graph.nodes[name].whole)

    @property
    def is_finished(self) -> bool:
        """Whether every shard is done, failed or blocked."""
        return all(state.is_finished for state in self.nodes.values())
