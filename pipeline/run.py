"""`capfilt run`: work what the plan leaves, then write the catalog and tell what became of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import duckdb

from pipeline.dag.damaged import damaged_files
from pipeline.dag.plan import NodePlan
from pipeline.demo import demo_web
from pipeline.execute.events import one_line
from pipeline.execute.execution import Execution, Executor, RunLostError, no_row
from pipeline.execute.schedule import Schedule
from pipeline.execute.stop import Stop
from pipeline.session import Session, write_session
from pipeline.sql.catalog import connect, write_catalog
from pipeline.sql.compaction import MANY, compact
from pipeline.upkeep.forget import apply_list
from pipeline.watch.answering import answering
from pipeline.watch.captioning import captioning
from pipeline.watch.console import Console
from pipeline.watch.display import make_display
from pipeline.watch.monitor import Monitor
from pipeline.watch.report import failed_shards, funnel, retrieval
from pipeline.watch.rounds import rounds
from pipeline.watch.words import duration
from stages.io import outages
from stages.io.outages import hurry, patience, patiently


def run_session(session: Session, *, executor: str, address: str | None, console: Console) -> dict[str, Any]:
    """Work everything that is left of a session.

    Args:
        session: the opened manifest.
        executor: `ray` or `local`.
        address: an existing Ray cluster; None starts one here.
        console: where progress goes.

    Returns:
        The outcome: summary, funnel, retrieval, captioning, answering, rounds and their gains, failed and blocked
        shards, where the tables lie, and for who goes on from there the session and its `views`.

    Raises:
        UserError: a stage cannot be set up, or the output cannot be written.
        Stopped: a signal ended the run.
        RunLostError: what it ran on is gone, or the output can be written no more.
    """
    _refuse_empty(session.plans)
    write_session(session)
    try:
        with patience(partial(_tell, console), session.store.probe):
            return _run(session, executor=executor, address=address, console=console)
    except OSError as error:  # a shard's own were listed with it; this one came where the run itself is written down
        raise RunLostError(
            f"output: {session.store.root} can be written no more: {one_line(error)}; "
            "what is committed stays, and the same command goes on"
        ) from None


def _refuse_empty(plans: Sequence[NodePlan]) -> None:
    """See that something is left of every list that has been cut, as the run sees that cuts it."""
    cut = {plan.node.source for plan in plans if plan.node.spec.grain == "file" and plan.is_done}
    for plan in plans:
        source = plan.node.source
        if source is not None and source in cut and plan.node.spec.grain == "shard" and plan.shards == ():
            raise no_row(source)


def _run(session: Session, *, executor: str, address: str | None, console: Console) -> dict[str, Any]:
    started = time.monotonic()
    new, schedule = _work(session, executor=_executor(executor, address), console=console)
    again = session.replanned()
    if schedule.is_finished and any(_is_undone(left, schedule) for left in again.plans):
        session = again  # what was found of a whole source was found anew, and says something else of some shards
        newer, schedule = _work(session, executor=_executor(executor, address), console=console)
        new += newer
    forgotten = apply_list(session.store, session.removed)  # it may have grown while shards were under way
    for model in forgotten.models:
        console.print(model.words, soft_wrap=True)
    _compact(session, console)
    catalog = patiently(lambda: connect(session.graph, session.store))
    return {
        "session": session,
        "views": catalog,
        "summary": _summary(new, schedule, time.monotonic() - started),
        "shards_done": new,
        "failed": failed_shards(session) if any(state.failed for state in schedule.nodes.values()) else [],
        "damaged": damaged_files(session.graph, session.store),
        "stopped": {name: state.stopped for name, state in schedule.nodes.items() if state.stopped},
        "not_forgotten": list(forgotten.failed.values()),
        "blocked": {name: sorted(state.blocked) for name, state in schedule.nodes.items() if state.blocked},
        "funnel": funnel(catalog),
        "retrieval": retrieval(catalog),
        "captioning": captioning(catalog),
        "answering": answering(catalog),
        **rounds(session.graph, catalog),
        "output": session.store.root,
        "catalog": patiently(lambda: write_catalog(session.graph, session.store, session.others())),
    }


def _tell(console: Console, trouble: str) -> None:
    """Say that storage is in trouble, or ("") is no longer."""
    waits = f"storage answers with errors: {trouble}; it is tried again for {outages.PATIENCE / 60:g} min"
    console.print(waits if trouble else "storage answers again", style="yellow", soft_wrap=True)


def _work(session: Session, *, executor: Executor, console: Console) -> tuple[int, Schedule]:
    """Work what the plan leaves; how many shards that were, and how it stands.

    Raises:
        Stopped: a signal ended the run.
    """
    graph, schedule = session.graph, Schedule(session.graph, session.plans)
    done_before = sum(len(state.done) for state in schedule.nodes.values())
    if not schedule.is_finished:
        with demo_web(session.demo, session.plans), make_display(console, graph) as display:
            stop = Stop(display.say)
            with Monitor(session.store, graph, schedule, display) as monitor:
                executor(Execution(graph, session.store, schedule, stop), monitor)
        if stop.requested and not schedule.is_finished:
            stop.now()
    return sum(len(state.done) for state in schedule.nodes.values()) - done_before, schedule


def _is_undone(left: NodePlan, schedule: Schedule) -> bool:
    """Whether a node has lost what was done of it, since something else is said of it now."""
    return not left.done >= schedule.nodes[left.node.name].done


def _compact(session: Session, console: Console) -> None:
    """Make queries fast; without room for it they are slow, and say the same."""
    try:
        with hurry():
            compact(session.graph, session.store, least=MANY)
    except (OSError, duckdb.IOException) as error:
        console.print(f"queries will read every small table: {one_line(error)}")


def _executor(name: str, address: str | None) -> Executor:
    """The executor by name; Ray is imported only where it is used."""
    if name == "local":
        from pipeline.execute.local import run_locally

        return run_locally
    from pipeline.execute.on_ray.executor import run_on_ray

    return partial(run_on_ray, address=address)


def _summary(new: int, schedule: Schedule, seconds: float) -> str:
    done, failed, waits = (
        sum(len(found) for found in counted)
        for counted in zip(
            *((state.done, state.failed, state.blocked) for state in schedule.nodes.values()), strict=True
        )
    )
    lost = f"{failed} failed" + (f", {waits} wait for others" if waits else "")
    if not new and not failed and not waits:
        return f"nothing to do: all {done} shards of all stages were done already"
    if not new:
        return f"nothing was done: {lost}"
    return f"done: {new} shards in {duration(seconds)}" + (f"; {lost}" if failed or waits else "")
