"""`--limit N`: the lists are cut file after file, up to the one that has the last of so many rows.

How many rows of a file count hangs on those of the files before it, so this comes before a run, in this process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pipeline.dag.graph import Node
from pipeline.dag.plan import NodePlan
from pipeline.execute.job import make_job
from pipeline.execute.worker import Worker
from pipeline.session import Session, write_session


def cut_up_to(opened: Callable[[], Session]) -> Session:
    """Cut what is needed of every list for the rows that a session asks for.

    Args:
        opened: opens the session anew; it knows of one more file every time.

    Raises:
        UserError: a file cannot be read, or the output cannot be written.
    """
    session = opened()
    while nodes := list(_uncut(session.plans)):
        write_session(session)
        jobs = {node.name: make_job(node, session.graph, session.store) for node in nodes}
        worker = Worker(session.store, jobs)
        for node in nodes:
            worker.work(node.name, node.parts[-1].name)
        session = opened()
    return session


def _uncut(plans: list[NodePlan]) -> Iterator[Node]:
    """The nodes whose last file decides how many more are needed."""
    for plan in plans:
        if plan.node.parts and plan.node.parts[-1].limit is not None and not plan.is_done:
            yield plan.node
