"""Runs the plan on Ray: a pool of workers per stage, one shard per call, the storage listing as the only truth.

The driver holds shard names and a `ray.wait` loop. Ray neither restarts an actor nor retries a call: the loop queues
the shard of a lost worker again, so that any other one may take it, and hires another. (A restarting actor refuses
calls for a while, which cannot be told from failing to load its model.) Why not Ray Data: a bad shard must be named
with its error, and a shard bound to a dead actor must not wait for that actor.
"""

from __future__ import annotations

import time
from typing import Any, Final

import ray
from ray.exceptions import RayActorError, RayTaskError

from pipeline.execute.crew import Verdict
from pipeline.execute.events import Event, Listener, one_line
from pipeline.execute.execution import Execution, RunLostError, hopeless
from pipeline.execute.on_ray.board import put_up, take_down
from pipeline.execute.on_ray.cluster import check_ray_lives, check_room, ray_session
from pipeline.execute.on_ray.pool import DEATHS, Pool, Worker
from pipeline.execute.on_ray.staff import Call, Staff
from pipeline.execute.on_ray.train import GroupLostError
from pipeline.execute.task import Task
from stages.errors import UserError
from stages.io.outages import StorageLostError
from stages.stopping import StoppedError

QUEUED_PER_WORKER: Final = 2
"""Shards that may wait in front of a stage, per worker, before the stage before it is held back."""
PATIENCE = 1.0
"""Seconds that the loop waits for a result before it looks at everything else again."""
LOOK: Final = 0.1
"""The same, where a shard waits for the time when it may be tried once more."""
SINGLED_OUT = 60.0
"""Seconds after which a worker is replaced that waits for storage while others of its stage commit shards."""


class RayRun:
    """One execution on Ray."""

    def __init__(self, execution: Execution, listener: Listener) -> None:
        self._execution = execution
        self._listener = listener
        self._staff = Staff(execution, listener)

    def run(self) -> None:
        """Work everything that is left, or what is under way when somebody wants the run to end.

        Raises:
            UserError: a stage cannot be set up at all, for example because its model is missing.
            RunLostError: Ray has lost all its nodes.
            StorageLostError: the output has answered with errors for too long.
            Stopped: somebody wants the run to end, and what is left under way would not be over in time.
        """
        try:
            self._work()
        except RunLostError:  # nobody is left to be sent home
            raise
        except BaseException:
            self._leave()
            raise
        self._leave()

    def _leave(self) -> None:
        self._staff.leave()
        take_down()

    def _work(self) -> None:
        stop = self._execution.stop
        while not self._execution.schedule.is_finished and (not stop.requested or self._at_shards()):
            if stop.requested:
                put_up()
            else:
                self._staff.arrange()
                self._feed()
            self._collect()
            for pool in self._staff.pools:
                pool.check_refusals()
            self._mind_storage()
            self._enforce_deadlines()

    def _at_shards(self) -> bool:
        """Whether shards are under way; a training among them is over when it has left a checkpoint."""
        return any(call.task for call in self._staff.calls.values())

    def _feed(self) -> None:
        """Give every idle worker a shard, the most advanced stage first.

        A queue is bounded only where somebody empties it: a stage whose workers still wait for resources must not hold
        back the one that occupies them.
        """
        limit = {
            name: QUEUED_PER_WORKER * len(pool.workers)
            for pool in self._staff.pools
            if pool.is_staffed
            for name in pool.nodes
        }
        for pool in reversed(self._staff.pools):
            for worker in list(pool.idle):
                if not self._execution.stop.requested and (task := self._take(pool, worker, limit)):
                    self._begin(pool, worker, task)

    def _take(self, pool: Pool, worker: Worker, limit: dict[str, int]) -> Task | None:
        retries = self._execution.retries

        def fits(task: Task) -> bool:
            return not retries.attempts(task) or retries.may_try(task, worker.hand, pool.others(worker))

        for name in pool.nodes:
            if task := self._execution.schedule.take(name, limit=limit, fits=fits):
                return task
        return None

    def _begin(self, pool: Pool, worker: Worker, task: Task) -> None:
        pool.idle.remove(worker)
        reference = worker.actor.work.remote(task.node, task.shard)
        self._staff.calls[reference] = Call("work", pool, worker, task, time.monotonic() + pool.run.deadline)
        self._tell(Event("started", task.node, task.shard))

    def _collect(self) -> None:
        """Wait for results."""
        waits = any(pool.idle and pool.ready for pool in self._staff.pools)
        if not self._staff.calls:
            if not self._execution.schedule.is_finished:
                self._execution.check_progress()
                time.sleep(LOOK)
            return
        done, _ = ray.wait(list(self._staff.calls), num_returns=1, timeout=LOOK if waits else PATIENCE)
        if not done:
            check_ray_lives()
        more, _ = ray.wait(list(self._staff.calls), num_returns=len(self._staff.calls), timeout=0)
        for reference in dict.fromkeys([*done, *more]):
            if call := self._staff.calls.pop(reference, None):  # else its worker has been sent home meanwhile
                self._settle(reference, call)

    def _settle(self, reference: Any, call: Call) -> None:
        try:
            result = ray.get(reference)
        except RayActorError as error:
            self._after_loss(call, one_line(error))
        except RayTaskError as error:
            self._after_error(call, error.cause if isinstance(error.cause, Exception) else error)
        else:
            self._after_success(call, result)

    def _after_success(self, call: Call, result: Any) -> None:
        pool, worker = call.pool, call.worker
        if call.kind == "arrive":
            worker.hand = type(worker.hand)(worker.hand.name, result)
            node = next(iter(pool.ready), pool.nodes[0])
            self._staff.calls[worker.actor.prepare.remote(node)] = Call("prepare", pool, worker)
            return
        pool.idle.append(worker)
        worker.is_set_up = True
        pool.deaths = 0
        for refused in [other for other in pool.workers if other.hand.name in pool.refusals]:
            self._staff.dismiss(pool, refused)  # it was no mistake of the user's, since here it went well
        if call.task:
            pool.succeeded = time.monotonic()
            self._execution.succeeded(call.task, result, self._listener, by=worker.hand)

    def _after_loss(self, call: Call, error: str) -> None:
        """The worker's process is gone; another one must load its model first."""
        pool = call.pool
        if call.task:
            self._execution.lost(call.task, "the worker died: " + error, self._listener, by=call.worker.hand)
        else:
            pool.deaths += 1
        self._staff.dismiss(pool, call.worker)
        if pool.deaths >= DEATHS:
            check_ray_lives()
            self._stop(pool, f"its workers die before their first shard: {error}; the same command goes on")

    def _after_error(self, call: Call, error: Exception) -> None:
        pool, worker, task = call.pool, call.worker, call.task
        if isinstance(error, GroupLostError):
            self._after_loss(call, str(error))
        elif isinstance(error, StorageLostError) and task:
            if trouble := self._execution.cannot_write(task):
                raise StorageLostError(trouble) from error
            self._execution.schedule.again(task)  # it is this worker that cannot
            self._judge(pool, worker, self._good_for_nothing(pool, worker), error)
        elif isinstance(error, StoppedError) and task:  # the run ends, and the next one goes on with it
            pool.idle.append(worker)
            self._execution.schedule.again(task)
        elif task:
            pool.idle.append(worker)
            verdict = self._execution.failed(task, error, self._listener, by=worker.hand, others=pool.others(worker))
            self._judge(pool, worker, verdict, error)
        else:
            self._after_no_set_up(pool, worker, error)

    def _after_no_set_up(self, pool: Pool, worker: Worker, error: Exception) -> None:
        """A worker cannot be set up: a mistake of the user's where none can, and else the worker's own trouble."""
        if isinstance(error, UserError) and not any(other.is_set_up for other in pool.workers):
            pool.refuse(worker, error)
        else:
            self._judge(pool, worker, self._good_for_nothing(pool, worker), error)

    def _good_for_nothing(self, pool: Pool, worker: Worker) -> Verdict:
        """What it makes of a worker that it is good for no shard at all."""
        return pool.crew.failed(worker.hand.name, None, [other.name for other in pool.others(worker)])

    def _judge(self, pool: Pool, worker: Worker, verdict: Verdict, error: Exception) -> None:
        if verdict == "hopeless":
            self._stop(pool, hopeless(one_line(error)))
        elif verdict == "sick":
            self._staff.dismiss(pool, worker)

    def _stop(self, pool: Pool, reason: str) -> None:
        self._execution.stop_stage(pool.stage, reason, self._listener)

    def _mind_storage(self) -> None:
        """Time in which a worker waits for storage is none of its shard's; one that waits alone is replaced."""
        self._staff.board.look()
        now = time.monotonic()
        for call in list(self._staff.calls.values()):
            since = self._staff.board.waiting.get(call.worker.hand.name)
            if since is None or call.task is None:
                continue
            call.deadline += self._staff.board.passed
            if now - since > SINGLED_OUT and call.pool.succeeded > since + SINGLED_OUT / 2:
                self._staff.dismiss(call.pool, call.worker)
                self._execution.schedule.again(call.task)

    def _enforce_deadlines(self) -> None:
        now = time.monotonic()
        for call in list(self._staff.calls.values()):
            if call.task and now > call.deadline:
                message = f"longer than the deadline of {call.pool.run.deadline:g} s ({call.pool.stage}.run.deadline)"
                self._staff.dismiss(call.pool, call.worker)
                self._execution.late(call.task, message, self._listener, by=call.worker.hand)

    def _tell(self, event: Event) -> None:
        self._listener(event, self._execution.schedule)


def run_on_ray(execution: Execution, listener: Listener, *, address: str | None = None) -> None:
    """Work everything that is left on the Ray cluster at `address`, or on a Ray of its own."""
    with ray_session(address):
        if address is None:
            check_room(execution)
        with execution.stop.listening():  # Ray has just begun to listen to SIGTERM itself
            RayRun(execution, listener).run()
