"""Runs the plan on Ray: one actor pool per stage, one shard per call, the storage listing as the only truth.

The driver holds shard names and a `ray.wait` loop. Ray neither restarts an actor nor retries a call: the loop re-queues
the shard of a lost actor, so that any live one of the pool may take it, and hires another. (A restarting actor refuses
calls for a while, which cannot be told from failing to load its model.) Why not Ray Data: a bad shard must be named
with its error, and a shard bound to a dead actor must not wait for that actor.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from threading import Thread
from typing import Any

import ray
from ray._private import services
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayActorError, RayTaskError

from pipeline.execute.events import Event, Listener, one_line
from pipeline.execute.execution import Execution, RunLostError
from pipeline.execute.schedule import Schedule, Task
from pipeline.execute.worker import Job, Report, Worker, work_corpus
from pipeline.store import Store
from stages.contract import RunOptions
from stages.errors import UserError

QUEUED_PER_ACTOR = 2
"""Shards that may wait in front of a stage, per actor, before the stage before it is held back."""
PATIENCE = 1.0
"""Seconds that the loop waits for a result before it looks at deadlines again."""
STALLED = 10.0
"""Seconds without a running shard, while some are ready, before idle actors give up their place to those that wait."""
ROOMLESS = 30.0
"""Seconds for which a stage's shards wait for its first actor to arrive before somebody is told."""
NODES_NAMED = 4
"""Nodes of which it is said what they have."""
USAGE_STATS = "RAY_USAGE_STATS_ENABLED"
"""Ray's own variable: "1" has it send usage statistics, "0" not."""
SETUP_ATTEMPTS = 3
"""How often in a row an actor may die or raise while it loads its model."""


class StageActor:
    """A worker in a process of its own."""

    def __init__(self, store: Store, jobs: Mapping[str, Job]) -> None:
        self._worker = Worker(store, jobs)

    def arrive(self) -> None:
        """Show that the process lives: Ray has found room for it."""

    def prepare(self, node: str) -> None:
        """Load what the node's compute needs."""
        self._worker.prepare(node)

    def work(self, node: str, shard: str) -> Report:
        """Work one shard and commit it."""
        return self._worker.work(node, shard)


@dataclass
class Pool:
    """The actors of one stage."""

    stage: str
    nodes: list[str]
    run: RunOptions
    reads_all: bool
    """Whether it waits for whole sources; its actors are hired when those are there, so that none idles till then."""
    actors: list[Any] = field(default_factory=list)
    arrived: list[Any] = field(default_factory=list)
    """Those of `actors` that Ray has found room for."""
    idle: list[Any] = field(default_factory=list)
    setup_failures: int = 0
    starving_since: float | None = None
    """Since when it has shards to work and not one actor that has arrived."""
    told: bool = False
    """Whether somebody was told."""

    def waiting(self, schedule: Schedule) -> bool:
        """Whether shards of this stage are ready to be worked."""
        return any(schedule.nodes[name].ready for name in self.nodes)


@dataclass(frozen=True)
class Call:
    """A call under way: a shard being worked, or (task None) an actor that arrives, or loads its model."""

    pool: Pool
    actor: Any
    task: Task | None
    deadline: float
    arrives: bool = False


class RayRun:
    """One execution on Ray."""

    def __init__(self, execution: Execution, listener: Listener) -> None:
        self._execution = execution
        self._listener = listener
        self._calls: dict[Any, Call] = {}
        self._pools = self._make_pools()
        self._last_running = time.monotonic()

    def _make_pools(self) -> list[Pool]:
        """A pool for every stage that has work left, in the order of the DAG."""
        pools: dict[str, Pool] = {}
        for name, node in self._execution.graph.nodes.items():
            if not self._execution.is_training(name) and not self._execution.schedule.nodes[name].is_finished:
                stage, reads_all = node.step, node.spec.at_once
                pools.setdefault(stage, Pool(stage, [], node.run, reads_all)).nodes.append(name)
        return list(pools.values())

    def run(self) -> None:
        """Work everything that is left, or what is under way when somebody wants the run to end.

        Raises:
            UserError: a stage cannot be set up at all, for example because its model is missing.
            RunLostError: Ray has lost all its nodes.
        """
        for pool in self._pools:
            if not pool.reads_all:
                self._staff(pool)
        while not self._execution.schedule.is_finished and (not self._execution.stop.requested or self._is_working()):
            if not self._execution.stop.requested:
                self._release_finished_pools()
                self._feed()
                self._make_room()
                self._tell_who_waits()
                if not self._calls and not self._train():
                    assert self._execution.schedule.is_finished, "shards are left that nothing will run"
            self._collect()

    def _staff(self, pool: Pool) -> None:
        """Ask Ray for the actors that the pool lacks; they come to life as resources allow."""
        actor_type = ray.remote(StageActor).options(
            num_cpus=pool.run.cpus, num_gpus=pool.run.gpus, max_restarts=0, max_task_retries=0
        )
        own = {name: self._execution.jobs[name] for name in pool.nodes}
        while len(pool.actors) < pool.run.actors:
            actor: Any = actor_type.remote(self._execution.store, own)
            pool.actors.append(actor)
            self._calls[actor.arrive.remote()] = Call(pool, actor, None, float("inf"), arrives=True)
            self._prepare(pool, actor)

    def _replace(self, pool: Pool, actor: Any) -> None:
        """Dismiss an actor that is dead, hangs or cannot be reached, and hire another."""
        ray.kill(actor)
        pool.actors.remove(actor)
        if actor in pool.arrived:
            pool.arrived.remove(actor)
        self._staff(pool)

    def _prepare(self, pool: Pool, actor: Any) -> None:
        reference = actor.prepare.remote(pool.nodes[0])
        self._calls[reference] = Call(pool, actor, None, float("inf"))

    def _release_finished_pools(self) -> None:
        """Give a finished stage's CPUs and GPUs to those that wait for some."""
        for pool in [pool for pool in self._pools if self._is_finished(pool)]:
            self._send_home(pool)
            self._pools.remove(pool)

    def _is_finished(self, pool: Pool) -> bool:
        return all(self._execution.schedule.nodes[name].is_finished for name in pool.nodes)

    def _feed(self) -> None:
        """Give every idle actor a shard, the most advanced stage first.

        A queue is bounded only where somebody empties it: a stage whose actors still wait for resources must not hold
        back the one that occupies them.
        """
        limit = {
            name: QUEUED_PER_ACTOR * len(pool.actors)
            for pool in self._pools
            if self._has_live(pool)
            for name in pool.nodes
        }
        for pool in reversed(self._pools):
            if not pool.actors and pool.waiting(self._execution.schedule):
                self._staff(pool)
            while pool.idle and not self._execution.stop.requested and (task := self._take(pool, limit)):
                actor = pool.idle.pop()
                reference = actor.work.remote(task.node, task.shard)
                self._calls[reference] = Call(pool, actor, task, time.monotonic() + pool.run.deadline)
                self._tell(Event("started", task.node, task.shard))

    def _has_live(self, pool: Pool) -> bool:
        return bool(pool.idle) or any(call.pool is pool and call.task for call in self._calls.values())

    def _is_working(self) -> bool:
        return any(call.task for call in self._calls.values())

    def _make_room(self) -> None:
        """Send idle actors home where the stages do not fit side by side.

        Ray gives resources to any actor that waits, also to one of a stage that has nothing to do yet. Such a pool is
        staffed again when it has.
        """
        schedule, now = self._execution.schedule, time.monotonic()
        if self._is_working():
            self._last_running = now
        starving = any(pool.waiting(schedule) and not pool.idle for pool in self._pools)
        if not starving or now - self._last_running < STALLED:
            return
        for pool in self._pools:
            if pool.idle and not pool.waiting(schedule):
                self._send_home(pool)
        self._last_running = now

    def _tell_who_waits(self) -> None:
        """Say once if a stage cannot begin because Ray has no room for a single one of its actors."""
        now = time.monotonic()
        for pool in self._pools:
            if pool.arrived or not pool.waiting(self._execution.schedule):
                pool.starving_since, pool.told = None, False
                continue
            pool.starving_since = pool.starving_since or now
            if not pool.told and now - pool.starving_since > ROOMLESS:
                pool.told = True
                self._tell(Event("waiting", pool.nodes[0], error=f"{_wants(pool.run)}; {_offers()}"))

    def _send_home(self, pool: Pool) -> None:
        for actor in pool.actors:
            ray.kill(actor)
        self._calls = {reference: call for reference, call in self._calls.items() if call.pool is not pool}
        pool.actors, pool.arrived, pool.idle = [], [], []

    def _take(self, pool: Pool, limit: Mapping[str, int]) -> Task | None:
        for name in pool.nodes:
            if task := self._execution.schedule.take(name, limit=limit):
                return task
        return None

    def _collect(self) -> None:
        """Wait for results, and replace the workers of shards that are past their deadline."""
        if not self._calls:
            return
        done, _ = ray.wait(list(self._calls), num_returns=1, timeout=PATIENCE)
        if not done:
            check_ray_lives()
        more, _ = ray.wait(list(self._calls), num_returns=len(self._calls), timeout=0)
        for reference in dict.fromkeys([*done, *more]):
            self._settle(reference, self._calls.pop(reference))
        self._enforce_deadlines()

    def _settle(self, reference: Any, call: Call) -> None:
        if call.arrives:
            self._note_arrival(reference, call)
            return
        try:
            report = ray.get(reference)
        except (ActorDiedError, ActorUnavailableError, RayActorError) as error:
            self._after_loss(call, one_line(error))
        except RayTaskError as error:
            self._after_error(call, error.cause if isinstance(error.cause, Exception) else error)
        else:
            call.pool.idle.append(call.actor)
            call.pool.setup_failures = 0
            if call.task:
                self._execution.succeeded(call.task, report, self._listener)

    def _note_arrival(self, reference: Any, call: Call) -> None:
        try:
            ray.get(reference)
        except RayActorError:
            return  # the next call to this actor says the same, and is seen to
        call.pool.arrived.append(call.actor)

    def _after_loss(self, call: Call, error: str) -> None:
        """The actor's process is gone; another one must load its model first."""
        if call.task:
            self._execution.lost(call.task, "the worker died: " + error, self._listener)
        else:
            self._count_setup_failure(call.pool, error)
        self._replace(call.pool, call.actor)

    def _after_error(self, call: Call, error: Exception) -> None:
        if call.task:
            call.pool.idle.append(call.actor)
            self._execution.failed(call.task, one_line(error), self._listener, final=isinstance(error, UserError))
            return
        if isinstance(error, UserError):
            raise error
        self._count_setup_failure(call.pool, one_line(error))
        self._prepare(call.pool, call.actor)

    def _count_setup_failure(self, pool: Pool, error: str) -> None:
        pool.setup_failures += 1
        if pool.setup_failures >= SETUP_ATTEMPTS * len(pool.actors):
            raise UserError(
                f"stage '{pool.stage}' cannot be set up: its workers fail before their first shard: {error}"
            )

    def _enforce_deadlines(self) -> None:
        now = time.monotonic()
        for reference, call in list(self._calls.items()):
            if call.task and now > call.deadline:
                del self._calls[reference]
                message = f"longer than the deadline of {call.pool.run.deadline:g} s ({call.pool.stage}.run.deadline)"
                self._execution.failed(call.task, message, self._listener)
                self._replace(call.pool, call.actor)

    def _train(self) -> bool:
        """Run a training node whose corpus is complete; the pools are gone by then, and their resources free."""
        for name in self._execution.graph.nodes:
            if self._execution.is_training(name) and (task := self._execution.schedule.take(name)):
                self._tell(Event("started", task.node, task.shard))
                self._try_to_train(task)
                return True
        return False

    def _try_to_train(self, task: Task) -> None:
        """Train in another thread, since Ray Train takes Ctrl-C for itself in this one."""
        training: Future[Report] = Future()
        Thread(target=self._train_apart, args=(task, training), daemon=True).start()
        while not wait([training], timeout=PATIENCE).done:
            check_ray_lives()
            if self._execution.stop.requested:  # it would not be over in time, and goes on from its last checkpoint
                self._execution.stop.now()
        try:
            report = training.result()
        except Exception as error:  # noqa: BLE001 - a failed training is listed like any failed shard
            self._execution.failed(task, one_line(error), self._listener, final=isinstance(error, UserError))
        else:
            self._execution.succeeded(task, report, self._listener)

    def _train_apart(self, task: Task, training: Future[Report]) -> None:
        # brings torch into the driver, which only a training needs
        from pipeline.execute.on_ray.train import train_on_ray

        job = self._execution.jobs[task.node]
        try:
            training.set_result(work_corpus(self._execution.store, job, task.shard, partial(train_on_ray, job)))
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
            training.set_exception(error)

    def _tell(self, event: Event) -> None:
        self._listener(event, self._execution.schedule)


def _wants(run: RunOptions) -> str:
    gpus = f" and {run.gpus:g} GPUs" if run.gpus else ""
    return f"no worker yet, since each takes {run.cpus:g} CPUs{gpus} of one node"


def _offers() -> str:
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    offered = ", ".join(f"{each.get('CPU', 0):g} CPUs and {each.get('GPU', 0):g} GPUs" for each in nodes[:NODES_NAMED])
    more = f" and {len(nodes) - NODES_NAMED} more" if len(nodes) > NODES_NAMED else ""
    return f"the nodes have {offered}{more}, partly taken; it begins when one has room"


def check_ray_lives() -> None:
    """See that Ray has a node left, without which it would wait for ever.

    Raises:
        RunLostError: it has none.
    """
    if not any(node["Alive"] for node in ray.nodes()):  # type: ignore[no-untyped-call]
        raise RunLostError("all nodes of Ray are gone (out of memory, or killed); the same command goes on")


def check_room(execution: Execution) -> None:
    """See that every stage's worker fits on some node of a Ray that will not grow.

    Raises:
        UserError: one does not, and would wait for ever.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    for node in execution.graph.nodes.values():
        if execution.schedule.nodes[node.name].is_finished:
            continue
        for kind, wanted, key in (("CPU", node.run.cpus, "cpus"), ("GPU", node.run.gpus, "gpus")):
            most = max(resources.get(kind, 0) for resources in nodes)
            if wanted > most:
                where = f"{node.step}.run.{key}"
                raise UserError(
                    f"{where}: {wanted:g}, but this machine has {most:g}; set less, or name a cluster by --address"
                )


@contextmanager
def ray_session(address: str | None) -> Iterator[None]:
    """A Ray to run on: the cluster at `address`, or one of this run's own on this machine.

    Raises:
        UserError: there is no cluster at `address`.
    """
    options: dict[str, Any] = {} if address else {"include_dashboard": False}
    try:
        with _asking_nobody():
            ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(f"--address {address}: no Ray cluster can be reached there: {one_line(error)}") from None
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _asking_nobody() -> Iterator[None]:
    """Have a Ray that is started meanwhile report to nobody, unless the environment says that it shall.

    Its API server asks two cloud metadata services where it runs as soon as it is up, whether usage statistics are on
    or not (ray 2.60). Without a dashboard that is all it does, so it is not started.
    """
    os.environ.setdefault(USAGE_STATS, "0")
    start = services.start_api_server
    if os.environ[USAGE_STATS] == "0":
        services.start_api_server = lambda *_, **__: (None, None)  # as where it fails to start, which Ray allows for
    try:
        yield
    finally:
        services.start_api_server = start


def run_on_ray(execution: Execution, listener: Listener, *, address: str | None = None) -> None:
    """Work everything that is left on the Ray cluster at `address`, or on a Ray of its own."""
    with ray_session(address):
        if address is None:
            check_room(execution)
        with execution.stop.listening():  # Ray has just begun to listen to SIGTERM itself
            RayRun(execution, listener).run()
