"""The trainings of a run that are under way, as the words show that they leave beside their checkpoints."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.dag.graph import Graph
from pipeline.dag.lineage import checkpoints_at
from pipeline.execute.events import Event
from pipeline.store import Store
from stages.training.progress import Progress, read_progress


class Trainings:
    """All of a graph. Safe to be looked at from another thread than the one that hears of events."""

    def __init__(self, store: Store, graph: Graph) -> None:
        models = {name: node for name, node in graph.nodes.items() if node.is_model}
        self._folders = {name: checkpoints_at(store.folder_of(node), node.data) for name, node in models.items()}
        self._steps = {name: node.step for name, node in models.items()}
        self._before: dict[str, Progress | None] = {}
        """By node, of those under way what an earlier run left."""
        self.latest: dict[str, Progress] = {}
        """By step, what was seen last of those under way."""

    def begin(self, event: Event) -> None:
        """Take note of a training that is begun."""
        if event.node in self._folders:
            self._before[event.node] = read_progress(self._folders[event.node])

    def is_over(self, event: Event) -> bool:
        """Whether the event is the end of one."""
        return event.kind != "started" and event.node in self._before

    def end(self, event: Event) -> None:
        """Take note of that, when it has been looked at a last time."""
        del self._before[event.node]
        self.latest.pop(self._steps[event.node], None)

    def look(self) -> Iterator[tuple[str, Progress]]:
        """What is new, by step."""
        for node, before in list(self._before.items()):
            now = read_progress(self._folders[node])
            step = self._steps[node]
            if now is None or (before and before.began == now.began) or now == self.latest.get(step):
                continue
            self.latest[step] = now
            yield step, now
