"""Runs the plan in this process, one shard at a time.

It takes the most advanced shard first, so that little lies between stages. A deadline needs a worker that can be
replaced: it holds on Ray only. What this process can renew of a sick worker are the stage's models.
"""

from __future__ import annotations

import time
from typing import Final

from pipeline.execute.events import Event, Listener, one_line
from pipeline.execute.execution import Execution, hopeless
from pipeline.execute.task import HERE, Task
from pipeline.execute.worker import Worker
from stages.errors import UserError
from stages.io.outages import StorageLostError
from stages.stopping import StoppedError

LOOK: Final = 0.1
"""Seconds until it is looked again whether a shard may be tried once more."""


def run_locally(execution: Execution, listener: Listener) -> None:
    """Work everything that is left.

    Raises:
        UserError: a stage cannot be set up at all, for example because its model is missing.
        StorageLostError: the output has answered with errors for too long.
        Stopped: a shard did not finish in time after a signal.
    """
    worker = Worker(execution.store, execution.jobs)
    with execution.stop.listening():
        while not execution.stop.requested and not execution.schedule.is_finished:
            if task := _next(execution):
                _work(execution, worker, task, listener)
            else:
                execution.check_progress()
                time.sleep(LOOK)


def _work(execution: Execution, worker: Worker, task: Task, listener: Listener) -> None:
    listener(Event("started", task.node, task.shard), execution.schedule)
    stage = execution.step_of(task.node)
    try:
        worker.prepare(task.node)
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001 - the other stages go on
        execution.schedule.again(task)
        execution.stop_stage(stage, f"it cannot be set up: {one_line(error)}; the same command goes on", listener)
        return
    try:
        report = worker.work(task.node, task.shard)
    except StorageLostError:
        raise
    except StoppedError:  # the run ends, and the next one goes on with it
        execution.schedule.again(task)
    except Exception as error:  # noqa: BLE001 - a failed shard is listed, the run goes on
        verdict = execution.failed(task, error, listener)
        if verdict == "hopeless":
            execution.stop_stage(stage, hopeless(one_line(error)), listener)
        elif verdict == "sick":
            worker.renew(task.node)
            execution.crew(stage).dismissed(HERE.name)
    else:
        execution.succeeded(task, report, listener)


def _next(execution: Execution) -> Task | None:
    """The most advanced shard that may be worked now."""
    for name in reversed(list(execution.graph.nodes)):
        if task := execution.schedule.take(name, fits=lambda task: execution.retries.may_try(task, HERE)):
            return task
    return None
