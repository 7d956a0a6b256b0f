"""What the shards that are not ready wait for. Every step costs O(inputs + readers), whatever the number of shards."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.dag.graph import Graph
from pipeline.execute.task import Task


class Waiting:
    """How many of its inputs each shard still lacks."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._lacks: dict[Task, int] = {}
        self._shards: dict[str, Sequence[str]] = {}
        self.readers: dict[str, list[str]] = {name: [] for name in graph.nodes}
        """The nodes that read from each node."""
        self._inputs: dict[str, list[tuple[str, str | None]]] = {}
        """What each node reads, and the name of the one artifact of what works all shards at once."""
        for name, node in graph.nodes.items():
            inputs = [graph.nodes[before] for before in node.inputs]
            self._inputs[name] = [(found.name, found.whole if found.spec.at_once else None) for found in inputs]
            for before in node.inputs:
                self.readers[before].append(name)

    def open(self, name: str, shards: Sequence[str]) -> None:
        """A node's shards are known."""
        self._shards[name] = shards

    def needs(self, task: Task) -> list[Task]:
        """What a shard reads: the same shard of its inputs, or the whole of one that works all shards at once."""
        return [Task(before, task.shard if whole is None else whole) for before, whole in self._inputs[task.node]]

    def hold(self, task: Task, is_done: Callable[[Task], bool]) -> bool:
        """Whether a shard must wait; it then does so until the last of what it needs is `done`."""
        lacks = sum(not is_done(needed) for needed in self.needs(task))
        if lacks:
            self._lacks[task] = lacks
        return bool(lacks)

    def done(self, task: Task) -> list[Task]:
        """A shard is done: those that waited for it last, and are ready now."""
        ready = []
        for waiting in self._waiting_for(task):
            self._lacks[waiting] -= 1
            if not self._lacks[waiting]:
                del self._lacks[waiting]
                ready.append(waiting)
        return ready

    def never(self, task: Task) -> list[Task]:
        """A shard will never be done: those that waited for it, directly or not, and wait no more."""
        dropped = []
        for waiting in self._waiting_for(task):
            if self._lacks.pop(waiting, None) is not None:  # it may have been dropped by another way
                dropped += [waiting, *self.never(waiting)]
        return dropped

    def drop(self, name: str) -> list[Task]:
        """The shards of a node that waited, and wait no more."""
        dropped = [task for task in self._lacks if task.node == name]
        for task in dropped:
            del self._lacks[task]
        return dropped

    def _waiting_for(self, task: Task) -> list[Task]:
        at_once = self._graph.nodes[task.node].spec.at_once
        found = (
            Task(reader, shard)
            for reader in self.readers[task.node]
            for shard in (self._shards.get(reader, ()) if at_once else (task.shard,))
        )
        return [waiting for waiting in found if waiting in self._lacks]
