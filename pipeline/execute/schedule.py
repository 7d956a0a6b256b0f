"""Which shard goes next: a state machine over node and shard names, without clocks, workers or storage.

A shard of a node is ready when the same shard of every input node is done, or the whole of one that works all shards at
once. A node is not fed while a node that reads from it has a full queue, so that no stage runs far ahead of the next
one and fills the disk. Every step of a shard costs O(inputs + readers), whatever the number of shards.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.dag.graph import Graph
from pipeline.dag.plan import NodePlan

LOST_WORKERS = 5
"""How many workers may die under one shard before it is set aside: it may be what kills them."""


@dataclass(frozen=True)
class Task:
    """One shard of one node."""

    node: str
    shard: str


@dataclass
class NodeState:
    """Where the shards of one node are."""

    ready: deque[str] = field(default_factory=deque)
    running: set[str] = field(default_factory=set)
    done: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    """Shard -> what went wrong."""
    blocked: set[str] = field(default_factory=set)
    """Shards that can not run because an input of theirs failed, and files of the source that could not be cut."""
    total: int | None = None
    """How many shards there are; None while the source has not been cut."""

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will happen here."""
        return self.total is not None and len(self.done) + len(self.failed) + len(self.blocked) == self.total


class Schedule:
    """The run's state. An executor asks `take`, and tells `succeeded`, `failed` or `lost`."""

    def __init__(self, graph: Graph, plans: Sequence[NodePlan]) -> None:
        self._graph = graph
        self._readers: dict[str, list[str]] = {name: [] for name in graph.nodes}
        for name, node in graph.nodes.items():
            for before in node.inputs:
                self._readers[before].append(name)
        self._waits: dict[tuple[str, str], int] = {}
        self._errors: dict[Task, int] = {}
        self._losses: dict[Task, int] = {}
        self.nodes: dict[str, NodeState] = {name: NodeState() for name in graph.nodes}
        self._uncut = {plan.node.source for plan in plans if plan.node.spec.grain == "file" and not plan.is_done}
        self._shards: dict[str, Sequence[str]] = {}
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
        state, inputs = self.nodes[name], self._graph.nodes[name].inputs
        state.total = len(shards) + len(failed)
        state.blocked.update(failed)
        self._shards[name] = shards
        for shard in shards:
            if shard in self._done[name]:
                state.done.add(shard)
                continue
            waits = sum(not self._is_done(before, shard) for before in inputs)
            if any(self._shard_of(before, shard) in self.nodes[before].blocked for before in inputs):
                state.blocked.add(shard)
            elif waits:
                self._waits[name, shard] = waits
            else:
                state.ready.append(shard)

    def _is_done(self, name: str, shard: str) -> bool:
        return self._graph.nodes[name].spec.grain == "file" or self._shard_of(name, shard) in self.nodes[name].done

    def _shard_of(self, name: str, shard: str) -> str:
        """What of a node a reader of this shard waits for."""
        node = self._graph.nodes[name]
        return node.whole if node.spec.at_once else shard

    def _waiting_for(self, task: Task) -> list[tuple[str, str]]:
        """The nodes and shards that wait for it."""
        at_once = self._graph.nodes[task.node].spec.at_once
        waiting = [
            (reader, shard)
            for reader in self._readers[task.node]
            for shard in (self._shards.get(reader, ()) if at_once else (task.shard,))
        ]
        return [pair for pair in waiting if pair in self._waits]

    def take(self, name: str, *, limit: Mapping[str, int] | None = None) -> Task | None:
        """The node's next shard, now running; None if none is ready or a reader's queue is full.

        Args:
            name: a node.
            limit: how many ready shards each reading node may have waiting; a node that is not named has no limit.
        """
        state = self.nodes[name]
        if not state.ready:
            return None
        for reader in self._readers[name]:
            if limit and reader in limit and len(self.nodes[reader].ready) >= limit[reader]:
                return None
        shard = state.ready.popleft()
        state.running.add(shard)
        return Task(name, shard)

    def succeeded(self, task: Task) -> None:
        """The shard is committed."""
        state = self.nodes[task.node]
        state.running.discard(task.shard)
        state.done.add(task.shard)
        for reader, shard in self._waiting_for(task):
            self._waits[reader, shard] -= 1
            if not self._waits[reader, shard]:
                del self._waits[reader, shard]
                self.nodes[reader].ready.append(shard)
        if state.is_finished:
            self._offer_readers_of_all()

    def failed(self, task: Task, error: str, *, attempts: int) -> bool:
        """An attempt raised, or ran past its deadline.

        Returns:
            Whether the shard is tried again; after `attempts` it is failed for good, and what reads it is blocked.
        """
        self._errors[task] = self._errors.get(task, 0) + 1
        return self._again_or_fail(task, error, self._errors[task] < attempts)

    def lost(self, task: Task, error: str) -> bool:
        """The worker died under the shard; counted apart, since a lost host is no fault of the shard's.

        Returns:
            Whether the shard is tried again.
        """
        self._losses[task] = self._losses.get(task, 0) + 1
        return self._again_or_fail(task, error, self._losses[task] < LOST_WORKERS)

    def attempts(self, task: Task) -> int:
        """How often the shard has been tried without success."""
        return self._errors.get(task, 0) + self._losses.get(task, 0)

    def _again_or_fail(self, task: Task, error: str, again: bool) -> bool:  # noqa: FBT001
        state = self.nodes[task.node]
        state.running.discard(task.shard)
        if again:
            state.ready.append(task.shard)
        else:
            state.failed[task.shard] = error
            self._block_readers(task)
            self._offer_readers_of_all()
        return again

    def _block_readers(self, task: Task) -> None:
        for reader, shard in self._waiting_for(task):
            if self._waits.pop((reader, shard), None) is not None:  # it may have been blocked by another way
                self.nodes[reader].blocked.add(shard)
                self._block_readers(Task(reader, shard))

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
            whole = not any(found.failed or found.blocked for found in inputs)
            if whole:
                state.ready.append(self._graph.nodes[name].whole)
            else:
                state.blocked.add(self._graph.nodes[name].whole)
                self._block_readers(Task(name, self._graph.nodes[name].whole))

    @property
    def is_finished(self) -> bool:
        """Whether every shard is done, failed or blocked."""
        return all(state.is_finished for state in self.nodes.values())
