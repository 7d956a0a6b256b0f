"""Workers that do one piece of work together, as in a training: seen from outside they are one worker.

Room is reserved for all of them at once, wherever nodes have some; a small process starts them there and sees that they
live: if one is lost or raises, all end. What they resume from is theirs: a training takes up its own newest
checkpoint, so a lost worker, a lost driver and a new run are the same case. (Ray Train would do the same; it takes ten
seconds to begin, asks for its room unseen, and hears Ctrl-C itself.)
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import ray
from ray.exceptions import RayActorError, RayTaskError
from ray.util.placement_group import PlacementGroup, placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from pipeline.execute.job import Job, Report
from pipeline.execute.on_ray.board import Sign
from pipeline.execute.on_ray.cluster import resources_of, workers_of
from pipeline.execute.on_ray.worker import StageActor
from pipeline.execute.worker import Models, load_compute, work_corpus
from pipeline.store import Store
from stages import stopping
from stages.contract import CorpusJob, Output, RunOptions
from stages.errors import UserError
from stages.io.outages import is_outage, patiently

JOIN: Final = "stages.models.process_group:join"
AFTERMATH: Final = 3.0
"""Seconds in which the others notice that one has failed; what they then raise is not the reason."""


class GroupLostError(Exception):
    """One of the workers is gone, and with it the group."""


class Member:
    """One of the workers, in a process of its own."""

    def __init__(self, rank: int, world_size: int) -> None:
        self._rank = rank
        self._world_size = world_size

    def listen(self) -> str:
        """An address at which this worker can be found by the others."""
        with socket.socket() as free:
            free.bind(("", 0))
            host: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
            return f"{host}:{free.getsockname()[1]}"

    def train(self, store: Store, job: Job, work: CorpusJob, address: str) -> None:
        """Train with the others."""
        stopping.listen(Sign())
        models = Models(store)  # whose copies live as long as this
        gpus = bool(job.run.gpus)
        load_compute(JOIN)(address, self._rank, self._world_size, gpus=gpus)
        trainer = load_compute(job.compute)(models.found(job), job.run)
        trainer.train(work, rank=self._rank, world_size=self._world_size, device="cuda:0" if gpus else None)


def reserve(run: RunOptions) -> PlacementGroup:
    """Ask for the room of all workers at once."""
    room: PlacementGroup = placement_group([resources_of(run)] * workers_of(run), strategy="PACK")
    return room


def train_together(room: PlacementGroup, store: Store, job: Job, work: CorpusJob) -> Output:
    """Train on workers in that room, and read the result.

    Raises:
        UserError: what the workers refuse: a model is missing, the corpus is too small, a loss is no longer a number.
        GroupLostError: a worker has died.
        StoppedError: somebody wants the run to end.
        Exception: what one of them raised.
    """
    size = workers_of(job.run)
    taken = {"num_cpus": job.run.cpus, "num_gpus": job.run.gpus}
    places = [PlacementGroupSchedulingStrategy(room, rank) for rank in range(size)]
    members: list[Any] = [
        ray.remote(Member).options(scheduling_strategy=place, **taken).remote(rank, size)
        for rank, place in enumerate(places)
    ]
    try:
        address = ray.get(members[0].listen.remote())
        _wait([member.train.remote(store, job, work, address) for member in members])
    except RayActorError as error:
        raise GroupLostError(str(error)) from None
    finally:
        for member in members:
            ray.kill(member)
    output: Output = load_compute(job.compute)(Models(store).found(job), job.run)(work)
    return output


def _wait(trainings: list[Any]) -> None:
    """Until all are over, or one has failed."""
    left = trainings
    while left:
        done, left = ray.wait(left, num_returns=1)
        errors = [error for each in done if (error := _error(each))]
        if errors:
            done, _ = ray.wait(left, num_returns=len(left), timeout=AFTERMATH) if left else ([], [])
            errors += [error for each in done if (error := _error(each))]
            # what somebody refuses explains all, then that somebody is gone
            raise min(
                errors, key=lambda error: (not isinstance(error, UserError), not isinstance(error, RayActorError))
            )


def _error(training: Any) -> Exception | None:
    try:
        ray.get(training)
    except RayTaskError as error:
        return error.cause if isinstance(error.cause, Exception) else error
    except RayActorError as error:
        return error
    return None


class GroupActor(StageActor):
    """What stands for all of them. The driver gives the room back: Ray would not, when this process ends (2.60)."""

    def __init__(self, store: Store, jobs: Mapping[str, Job], name: str, room: PlacementGroup) -> None:
        super().__init__(store, jobs, name)
        self._room = room

    def arrive(self) -> str:
        """Wait until there is room for all."""
        ray.get(self._room.ready())
        return super().arrive()

    def prepare(self, node: str) -> None:
        """Every worker loads its own."""

    def work(self, node: str, shard: str) -> Report:
        """Have the shard worked, and commit it."""
        job = self._jobs[node]
        compute = partial(train_together, self._room, self._store, job)
        return patiently(lambda: work_corpus(self._store, job, shard, compute), passes=is_outage)
