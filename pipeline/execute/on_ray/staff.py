"""Who works for a run on Ray: pools are hired when their work begins, and give their places to one another."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final, Literal

from pipeline.execute.events import Event, Listener
from pipeline.execute.execution import Execution
from pipeline.execute.on_ray.board import Board
from pipeline.execute.on_ray.cluster import draining_nodes, offers, wants
from pipeline.execute.on_ray.pool import Pool, Worker
from pipeline.execute.task import Task

EVERY: Final = 1.0
"""Seconds between two looks at which nodes are drained."""
STALLED = 5.0
"""Seconds for which a stage waits for its first worker before idle ones of others give up their place."""
ROOMLESS = 30.0
"""Seconds for which it waits before somebody is told."""


@dataclass
class Call:
    """A call under way."""

    kind: Literal["arrive", "prepare", "work"]
    pool: Pool
    worker: Worker
    task: Task | None = None
    """With `work`."""
    deadline: float = float("inf")


class Staff:
    """The pools of a run, and what is under way."""

    def __init__(self, execution: Execution, listener: Listener) -> None:
        self._execution = execution
        self._listener = listener
        self.board = Board()
        self.calls: dict[Any, Call] = {}
        self.pools = self._make_pools()
        self._looked = 0.0
        self._going: frozenset[str] = frozenset()

    def _make_pools(self) -> list[Pool]:
        """A pool for every stage that has work left, in the order of the DAG."""
        stages: dict[str, list[str]] = {}
        for name in self._execution.graph.nodes:
            if not self._execution.schedule.nodes[name].is_finished:
                stages.setdefault(self._execution.step_of(name), []).append(name)
        return [Pool(stage, nodes, self._execution) for stage, nodes in stages.items()]

    def arrange(self) -> None:
        """Hire for what can be worked now; send home who is not needed, or stands where others must."""
        self._release_finished_pools()
        self._hire()
        self._leave_draining_nodes()
        self._make_room()
        self._tell_who_waits()

    def leave(self) -> None:
        """Send all home, and give every room back."""
        for pool in self.pools:
            for worker in list(pool.workers):
                self.send_home(pool, worker)

    def _release_finished_pools(self) -> None:
        """Give a finished stage's CPUs and GPUs to those that wait for some."""
        for pool in [pool for pool in self.pools if pool.is_finished]:
            for worker in list(pool.workers):
                self.send_home(pool, worker)
            self.pools.remove(pool)

    def _hire(self) -> None:
        """Hire for what can be worked now, the most advanced stage first."""
        for pool in reversed(self.pools):
            for worker in pool.hire():
                self.calls[worker.actor.arrive.remote()] = Call("arrive", pool, worker)

    def send_home(self, pool: Pool, worker: Worker) -> None:
        """Do without a worker."""
        self._forget_calls(worker)
        pool.send_home(worker)

    def dismiss(self, pool: Pool, worker: Worker) -> None:
        """Have another worker take one's place."""
        self._forget_calls(worker)
        pool.dismiss(worker)

    def _forget_calls(self, worker: Worker) -> None:
        self.board.erase(worker.hand.name)
        for reference in [reference for reference, call in self.calls.items() if call.worker is worker]:
            del self.calls[reference]

    def _leave_draining_nodes(self) -> None:
        """Give no shard to a worker whose node will soon be gone; Ray starts its successor on another one."""
        if (now := time.monotonic()) - self._looked > EVERY:
            self._looked, self._going = now, draining_nodes()
        for pool in self.pools if self._going else ():
            for worker in [worker for worker in pool.idle if worker.hand.host in self._going]:
                self.send_home(pool, worker)

    def _make_room(self) -> None:
        """Send idle workers home where a stage waits for its first one.

        Ray gives resources to any actor that asks, also to those of a stage that has nothing to do at the moment. Such
        a pool is staffed again when it has.
        """
        now, hungry = time.monotonic(), False
        for pool in self.pools:
            if pool.is_staffed or not pool.workers or not pool.ready:
                pool.hungry_since, pool.told = None, False
                continue
            pool.hungry_since = pool.hungry_since or now
            hungry = hungry or now - pool.hungry_since > STALLED
        for pool in self.pools if hungry else ():
            for worker in list(pool.idle) if not pool.ready else ():
                self.send_home(pool, worker)

    def _tell_who_waits(self) -> None:
        """Say once if a stage cannot begin because Ray has no room for a single one of its workers."""
        now = time.monotonic()
        for pool in self.pools:
            if pool.hungry_since and not pool.told and now - pool.hungry_since > ROOMLESS:
                pool.told = True
                told = Event("waiting", pool.nodes[0], error=f"{wants(pool.run)}; {offers()}")
                self._listener(told, self._execution.schedule)
