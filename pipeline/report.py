"""What a command says at its end: the funnel, what failed, and where the tables lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.catalog import connect, query
from pipeline.plan import NodePlan
from pipeline.session import Session


def funnel(session: Session) -> list[dict[str, Any]]:
    """The funnel's rows: source, step, count."""
    connection = connect(session.graph, session.store)
    columns, rows = query(connection, "SELECT * FROM funnel")
    return [dict(zip(columns, row, strict=True)) for row in rows]


def losses(session: Session) -> list[dict[str, Any]]:
    """How many rows were lost at which stage, and why."""
    sql = "SELECT stage, reason, count(*) AS count FROM failures GROUP BY ALL ORDER BY stage, count DESC, reason"
    columns, rows = query(connect(session.graph, session.store), sql)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def retrieval(session: Session) -> list[dict[str, Any]]:
    """What `evaluate` measured: source, model, direction, and the recall at every k; nothing before it has run."""
    sql = """
        SELECT source, any_value(images) AS images, any_value(texts) AS texts, model, direction,
               max(recall) FILTER (k = 1) AS r1, max(recall) FILTER (k = 5) AS r5, max(recall) FILTER (k = 10) AS r10
        FROM retrieval GROUP BY source, model, direction ORDER BY source, direction, r1 DESC, model
    """
    columns, rows = query(connect(session.graph, session.store), sql)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def failed_shards(session: Session) -> list[dict[str, Any]]:
    """The shards that failed for good and are still not done: node, shard, error."""
    found = []
    for node in session.graph.nodes.values():
        failures = session.store.failures(session.store.folder(node.spec.name, node.fingerprint))
        found += [{"node": node.name, "shard": shard, **failure} for shard, failure in failures.items()]
    return found


def plan_rows(plans: Sequence[NodePlan]) -> list[dict[str, Any]]:
    """The plan as rows: node, fingerprint, shards done and left, why."""
    return [
        {
            "node": plan.node.name,
            "fingerprint": plan.node.fingerprint,
            "done": len(plan.done),
            "total": None if plan.shards is None else len(plan.shards),
            "reason": plan.reason,
        }
        for plan in plans
    ]


def print_funnel(console: Console, session: Session) -> None:
    """The funnel as a table, a column per source, and what was lost on the way."""
    rows = funnel(session)
    sources = list(dict.fromkeys(row["source"] for row in rows))
    steps = list(dict.fromkeys(row["step"] for row in rows))
    counts = {(row["source"], row["step"]): row["count"] for row in rows}
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("funnel")
    for source in sources:
        table.add_column(source, justify="right")
    for step in steps:
        table.add_row(step, *(_count(session, source, counts.get((source, step))) for source in sources))
    console.print(table)
    for loss in losses(session):
        console.print(f"  lost at {loss['stage']}: {loss['count']:,} {loss['reason']}", highlight=False)


def _count(session: Session, source: str, count: int | None) -> str:
    """A count of the funnel; nothing where a source that is measured on does not go."""
    if count is None and source in session.manifest.evaluated:
        return ""
    return f"{count or 0:,}"


def print_retrieval(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    """What `retrieval` found, in percent, if anything."""
    if not rows:
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("retrieval")
    for title in ("source", "images", "texts", "direction", "R@1", "R@5", "R@10"):
        table.add_column(title, justify="left" if title in ("source", "direction") else "right")
    for row in rows:
        recalls = (f"{100 * row[name]:.1f}" for name in ("r1", "r5", "r10"))
        direction = row["direction"].replace("_", " ")
        table.add_row(row["model"], row["source"], f"{row['images']:,}", f"{row['texts']:,}", direction, *recalls)
    console.print()
    console.print(table)


def print_plan(console: Console, plans: Sequence[NodePlan]) -> None:
    """The plan as a table."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("stage", "fingerprint", "done", "to do"):
        table.add_column(title, overflow="fold")
    for row in plan_rows(plans):
        total = "?" if row["total"] is None else row["total"]
        table.add_row(row["node"], row["fingerprint"], f"{row['done']}/{total}", row["reason"] or "nothing")
    console.print(table)


def print_failed_shards(console: Console, session: Session) -> None:
    """A line for every shard that failed."""
    for failure in failed_shards(session):
        text = (
            f"failed: {failure['node']} {failure['shard']} after {failure['attempts']} attempt(s): {failure['error']}"
        )
        console.print(text, style="red", markup=False, highlight=False, soft_wrap=True)
