"""`capfilt run`: work what the plan leaves, then write the catalog and tell what became of it."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from rich.console import Console

from pipeline.catalog import write_catalog
from pipeline.display import duration, make_display
from pipeline.execution import Execution
from pipeline.forget import apply_list
from pipeline.graph import absolute
from pipeline.report import failed_shards, funnel, retrieval
from pipeline.schedule import Schedule
from pipeline.session import Session, demo_web, write_recipes
from pipeline.stop import Stop


def run_session(session: Session, *, executor: str, address: str | None, console: Console) -> dict[str, Any]:
    """Work everything that is left of a session.

    Args:
        session: the opened manifest.
        executor: `ray` or `local`.
        address: an existing Ray cluster; None starts one here.
        console: where progress goes.

    Returns:
        The outcome: summary, funnel, retrieval, failed and blocked shards, where the tables lie, and the session.

    Raises:
        UserError: a stage cannot be set up, or the output cannot be written.
        Stopped: a signal ended the run.
    """
    started = time.monotonic()
    schedule = Schedule(session.graph, session.plans)
    done_before = sum(len(state.done) for state in schedule.nodes.values())
    removed = absolute(session.manifest.removed)
    if not schedule.is_finished:
        write_recipes(session)
    apply_list(session.store, removed)
    if not schedule.is_finished:
        with demo_web(session), make_display(console, session.graph) as display:
            stop = Stop(display.say)
            _executor(executor, address)(Execution(session.graph, session.store, schedule, stop), display)
        if stop.requested and not schedule.is_finished:
            stop.now()
        apply_list(session.store, removed)  # it may have grown while shards were under way
    done = sum(len(state.done) for state in schedule.nodes.values())
    return {
        "session": session,
        "summary": _summary(done - done_before, done, time.monotonic() - started),
        "shards_done": done - done_before,
        "failed": failed_shards(session) if any(state.failed for state in schedule.nodes.values()) else [],
        "blocked": {name: sorted(state.blocked) for name, state in schedule.nodes.items() if state.blocked},
        "funnel": funnel(session),
        "retrieval": retrieval(session),
        "output": session.store.root,
        "catalog": write_catalog(session.graph, session.store),
    }


def _executor(name: str, address: str | None) -> Any:
    """The executor by name; Ray is imported only where it is used."""
    if name == "local":
        from pipeline.local_executor import run_locally

        return run_locally
    from pipeline.ray_executor import run_on_ray

    return partial(run_on_ray, address=address)


def _summary(new: int, done: int, seconds: float) -> str:
    if not new:
        return f"nothing to do: all {done} shards of all stages were done already"
    return f"done: {new} shards in {duration(seconds)}"
