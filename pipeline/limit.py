"""`--limit N`: the lists are cut file after file, up to the one that has the last of so many rows.

How many rows of a file count hangs on those of the files before it, so this comes before a run, in this process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from pipeline.dag.graph import Node
from pipeline.dag.plan import NodePlan
from pipeline.execute.job import make_job
from pipeline.execute.worker import Worker
from pipeline.session import Session, write_session
from stages.urls.parts import Part


def cut_up_to(opened: Callable[[], Session]) -> Session:
    """Cut what is needed of every list for the rows that a session asks for.

    Args:
        opened: opens the session, and once more when all that is cut.

    Raises:
        UserError: a file cannot be read, or the output cannot be written.
    """
    session = opened()
    nodes = list(_uncut(session.plans))
    if not nodes:
        return session
    write_session(session)
    for node in nodes:
        _cut(session, node, session.behind.get(node.name, ()))
    return opened()


def _uncut(plans: list[NodePlan]) -> Iterator[Node]:
    """The nodes whose last file decides how many more are needed."""
    for plan in plans:
        if plan.node.parts and plan.node.parts[-1].limit is not None and not plan.is_done:
            yield plan.node


def _cut(session: Session, node: Node, behind: Sequence[Part]) -> None:
    """Cut the last file of a node, and of those behind it as many as are needed."""
    job = make_job(replace(node, parts=(*node.parts, *behind)), session.graph, session.store)
    left = node.parts[-1].limit or 0
    for part in (node.parts[-1], *behind):
        own = replace(part, limit=left)
        worker = Worker(session.store, {node.name: replace(job, parts={own.name: own})})
        left -= worker.work(node.name, own.name).rows
        if left <= 0:
            return
