"""Runs the plan in this process, one shard at a time.

It takes the most advanced shard first, so that little lies between stages. A deadline needs a worker that can be
replaced: it holds on Ray only.
"""

from __future__ import annotations

from pipeline.execute.events import Event, Listener, one_line
from pipeline.execute.execution import Execution
from pipeline.execute.schedule import Task
from pipeline.execute.worker import Worker
from stages.errors import UserError


def run_locally(execution: Execution, listener: Listener) -> None:
    """Work everything that is left.

    Raises:
        UserError: a stage cannot be set up at all, for example because its model is missing.
        Stopped: a shard did not finish in time after a signal.
    """
    worker = Worker(execution.store, execution.jobs)
    with execution.stop.listening():
        while not execution.stop.requested and (task := _next(execution)):
            listener(Event("started", task.node, task.shard), execution.schedule)
            worker.prepare(task.node)
            try:
                report = worker.work(task.node, task.shard)
            except Exception as error:  # noqa: BLE001 - a failed shard is listed, the run goes on
                execution.failed(task, one_line(error), listener, final=isinstance(error, UserError))
            else:
                execution.succeeded(task, report, listener)


def _next(execution: Execution) -> Task | None:
    """The most advanced ready shard."""
    for name in reversed(list(execution.graph.nodes)):
        if task := execution.schedule.take(name):
            return task
    return None
