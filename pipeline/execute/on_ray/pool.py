"""The workers of one stage on Ray: hired when there is work for them, replaced one by one, sent home together."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

import ray
from ray.util.placement_group import PlacementGroup, remove_placement_group

from pipeline.execute.execution import Execution
from pipeline.execute.on_ray.cluster import workers_of
from pipeline.execute.on_ray.train import GroupActor, reserve
from pipeline.execute.on_ray.worker import StageActor
from pipeline.execute.task import Hand
from stages.errors import UserError

DEATHS: Final = 10
"""How many workers in a row may die before their first shard, until the stage stops."""
SECOND_OPINION: Final = 10.0
"""Seconds in which another worker may arrive that can be set up where the first could not."""
LONGEST_PAUSE: Final = 30.0
"""Seconds between two hires where one worker after the other is sick, or dies."""
_NUMBERS = count()


@dataclass(eq=False)
class Worker:
    """One actor."""

    actor: Any
    hand: Hand
    """Its host is "" until it has arrived there."""
    room: PlacementGroup | None = None
    """What is reserved for a group."""
    is_set_up: bool = False
    """Whether it has what it needs for a shard."""

    @property
    def has_arrived(self) -> bool:
        """Whether Ray has found room for it."""
        return bool(self.hand.host)


@dataclass(eq=False)
class Pool:
    """The workers of one stage."""

    stage: str
    nodes: list[str]
    """Whose shards they work."""
    execution: Execution
    workers: list[Worker] = field(default_factory=list)
    idle: list[Worker] = field(default_factory=list)
    """Those that can be given a shard."""
    refusals: dict[str, UserError] = field(default_factory=dict)
    """Workers that cannot be set up because of a mistake, as it seems, of the user's."""
    refused: float = 0.0
    """When the first of them said so."""
    deaths: int = 0
    """Workers that have died before their first shard, in a row."""
    hires_from: float = 0.0
    """When the next worker may be hired."""
    succeeded: float = 0.0
    """When a shard was worked last."""
    hungry_since: float | None = None
    """Since when there are shards to work, and not one worker that has arrived."""
    told: bool = False
    """Whether somebody was told of that."""

    def __post_init__(self) -> None:
        self.run = self.execution.graph.nodes[self.nodes[0]].run
        self.is_group = self.execution.is_training(self.nodes[0])
        self.crew = self.execution.crew(self.stage)

    @property
    def ready(self) -> list[str]:
        """The nodes that have shards to be worked."""
        return [name for name in self.nodes if self.execution.schedule.nodes[name].ready]

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will happen here."""
        return all(self.execution.schedule.nodes[name].is_finished for name in self.nodes)

    @property
    def is_staffed(self) -> bool:
        """Whether a worker has arrived."""
        return any(worker.has_arrived for worker in self.workers)

    def others(self, worker: Worker) -> list[Hand]:
        """The workers beside one, as far as they have arrived."""
        return [other.hand for other in self.workers if other is not worker and other.has_arrived]

    def refuse(self, worker: Worker, mistake: UserError) -> None:
        """A worker cannot be set up, and says that it is the user's mistake."""
        if not self.refusals:
            self.refused = time.monotonic()
        self.refusals[worker.hand.name] = mistake

    def check_refusals(self) -> None:
        """See that some worker can be set up, or may be.

        Raises:
            UserError: none can; those that find no room are not waited for.
        """
        if not self.refusals or any(other.is_set_up for other in self.workers):
            return
        others = [worker for worker in self.workers if worker.hand.name not in self.refusals]
        may_come = len(self.workers) < min(self.run.actors, 2) or any(not other.has_arrived for other in others)
        in_time = time.monotonic() - self.refused < SECOND_OPINION
        if not any(other.has_arrived for other in others) and not (may_come and in_time):
            raise next(iter(self.refusals.values()))

    def hire(self) -> list[Worker]:
        """Ask Ray for workers, as many as have something to do; they come to life as resources allow."""
        states = [self.execution.schedule.nodes[name] for name in self.nodes]
        shards = sum(len(state.ready) + len(state.running) for state in states)
        in_doubt = self.crew.is_in_doubt or bool(self.refusals)
        wanted = shards + in_doubt if shards else 0  # another one is to show whether it is the first one's trouble
        lacks = min(self.run.actors, wanted) - len(self.workers)
        if lacks <= 0 or time.monotonic() < self.hires_from:
            return []
        hired = [self._hire() for _ in range(lacks)]
        self.workers += hired
        return hired

    def _hire(self) -> Worker:
        jobs = {name: self.execution.jobs[name] for name in self.nodes}
        name = f"{self.stage}-{next(_NUMBERS)}"
        room = reserve(self.run) if self.is_group and workers_of(self.run) > 1 else None
        taken = {"num_cpus": 0 if room else self.run.cpus, "num_gpus": 0 if room else self.run.gpus}
        kind: Any = ray.remote(GroupActor if room else StageActor)
        kind = kind.options(max_restarts=0, max_task_retries=0, **taken)
        self.crew.joined(name)
        actor = kind.remote(self.execution.store, jobs, name, *([room] if room else []))
        return Worker(actor, Hand(name), room)

    def send_home(self, worker: Worker) -> None:
        """Give its place to others; it was not at a shard."""
        ray.kill(worker.actor)
        if worker.room:
            remove_placement_group(worker.room)
        self.workers.remove(worker)
        self.refusals.pop(worker.hand.name, None)
        if worker in self.idle:
            self.idle.remove(worker)

    def dismiss(self, worker: Worker) -> None:
        """Have another one take its place, the later the more of them have been dismissed in a row."""
        self.send_home(worker)
        self.crew.dismissed(worker.hand.name)
        in_a_row = self.crew.replaced + self.deaths
        self.hires_from = time.monotonic() + min(2.0 ** (in_a_row - 2), LONGEST_PAUSE) if in_a_row > 1 else 0.0
