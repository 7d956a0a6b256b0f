"""What a command says at its end: the funnel, what failed, and where the tables lie."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from rich.table import Table

from pipeline.dag.graph import Graph
from pipeline.dag.listing import done_folder
from pipeline.dag.plan import NodePlan
from pipeline.session import Session
from pipeline.sql.catalog import Catalog, query
from pipeline.watch.console import Console, records
from pipeline.watch.display import REMARKS
from pipeline.watch.words import duration

SILENT: Final = 60.0
"""Seconds after which a run that says nothing may be dead; it speaks every ten."""
NAMED: Final = 3
"""Failed shards that a line names."""


def funnel(catalog: Catalog) -> list[dict[str, Any]]:
    """The funnel's rows: source, step, count."""
    return _rows(catalog, "SELECT * FROM funnel")


def losses(catalog: Catalog) -> list[dict[str, Any]]:
    """How many rows were lost at which stage, and why."""
    sql = """
        SELECT stage, reason, sum(count)::BIGINT AS count
        FROM losses GROUP BY stage, reason ORDER BY stage, count DESC, reason
    """
    return _rows(catalog, sql)


def worst_hosts(catalog: Catalog, most: int = 5) -> list[dict[str, Any]]:
    """The hosts from which most URLs failed: host, urls, images, failed, and the most frequent reason."""
    return _rows(catalog, f"SELECT * FROM hosts WHERE failed > 0 LIMIT {most}")  # noqa: S608 - a number


def retrieval(catalog: Catalog) -> list[dict[str, Any]]:
    """What `evaluate` measured: step, source, model, direction, recalls at every k; nothing before it has run."""
    sql = """
        SELECT made_by AS step, source, any_value(images) AS images, any_value(texts) AS texts, model, direction,
               max(recall) FILTER (k = 1) AS r1, max(recall) FILTER (k = 5) AS r5, max(recall) FILTER (k = 10) AS r10
        FROM retrieval GROUP BY step, source, model, direction ORDER BY step, source, direction, r1 DESC, model
    """
    return _rows(catalog, sql)


def _rows(catalog: Catalog, sql: str) -> list[dict[str, Any]]:
    return records(*query(catalog, sql))


def failed_shards(session: Session) -> list[dict[str, Any]]:
    """The shards that failed for good and are still not done: node, shard, error."""
    found = []
    for plan in session.plans:
        failures = session.store.failures(done_folder(plan.node, session.store))
        counted = set(failures if plan.shards is None else plan.shards)  # others are of lists that were
        named = {shard: failure for shard, failure in failures.items() if shard in counted}
        found += [{"node": plan.node.name, "shard": shard, **failure} for shard, failure in named.items()]
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
            "stale": plan.stale,
            "left_out": plan.left_out,
        }
        for plan in plans
    ]


def print_funnel(console: Console, catalog: Catalog, evaluated: Collection[str]) -> None:
    """The funnel as a table, a column per source, and what was lost on the way.

    Args:
        console: where it goes.
        catalog: the views.
        evaluated: the sources that are measured on, and do not go all the way.
    """
    rows = funnel(catalog)
    sources = list(dict.fromkeys(row["source"] for row in rows))
    counts = {(row["source"], row["step"]): row["count"] for row in rows}
    table = _table("funnel", *sources, left=1)
    for step in dict.fromkeys(row["step"] for row in rows):
        counted = [counts.get((source, step), None if source in evaluated else 0) for source in sources]
        table.add_row(step, *("" if count is None else f"{count:,}" for count in counted))
    console.print(table)
    for loss in losses(catalog):
        console.print(f"  lost at {loss['stage']}: {loss['count']:,} {loss['reason']}")


def print_worst_hosts(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    """What `worst_hosts` found, if anything."""
    if not rows:
        return
    table = _table("host", "most often", "URLs", "failed", left=2)
    for row in rows:
        table.add_row(row["host"], row["reason"], f"{row['urls']:,}", f"{row['failed']:,}")
    console.print()
    console.print(table)


def print_retrieval(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    """What `retrieval` found, in percent, if anything."""
    if not rows:
        return
    several = len({row["step"] for row in rows}) > 1
    first = ("retrieval", "step") if several else ("retrieval",)
    table = _table(*first, "source", "direction", "images", "texts", "R@1", "R@5", "R@10", left=len(first) + 2)
    for row in rows:
        recalls = (f"{100 * row[name]:.1f}" for name in ("r1", "r5", "r10"))
        named = (row["model"], row["step"]) if several else (row["model"],)
        direction = row["direction"].replace("_", " ")
        table.add_row(*named, row["source"], direction, f"{row['images']:,}", f"{row['texts']:,}", *recalls)
    console.print()
    console.print(table)


def print_runs(console: Console, runs: Sequence[dict[str, Any]]) -> None:
    """How far runs under way are, as `Monitor.state` says it."""
    for run in runs:
        age = (datetime.now(UTC) - datetime.fromisoformat(run["written"])).total_seconds()
        console.print(f"run of process {run['process']} on {run['host']} since {run['started']}, {_heard_of(age)}")
        table = _table("stage", "queued", "running", "done", "failed", "images/s", "workers busy", "GPUs busy", left=1)
        for row in run["stages"]:
            counts = (f"{row[name]:,}" if row[name] else "" for name in ("queued", "running"))
            done = f"{row['done']:,}/{'?' if row['total'] is None else format(row['total'], ',')}"
            rate = "" if row["images_per_second"] is None else f"{row['images_per_second']:,.1f}"
            shares = ("" if share is None else f"{share:.0%}" for share in (row["workers_busy"], row["gpus_busy"]))
            table.add_row(row["stage"], *counts, done, str(row["failed"] or ""), rate, *shares)
        console.print(table)
        for row in run["stages"]:
            if row["training"]:
                console.print(f"{row['stage']}: {row['training']}", soft_wrap=True)
        console.print()


def _heard_of(age: float) -> str:
    if age < SILENT:
        return f"as of {duration(max(age, 0))} ago"
    return f"last heard of {duration(age)} ago: it may have been killed"


def print_plan(console: Console, plans: Sequence[NodePlan]) -> None:
    """The plan as a table."""
    table = _table("stage", "fingerprint", "done", "to do", left=4)
    for row in plan_rows(plans):
        total = "?" if row["total"] is None else row["total"]
        to_do = "; ".join(filter(None, (row["reason"] or row["stale"] or "nothing", row["left_out"])))
        table.add_row(row["node"], row["fingerprint"], f"{row['done']}/{total}", to_do)
    console.print(table)


def print_damaged(console: Console, files: Sequence[Mapping[str, Any]]) -> None:
    """A line for every file of a list of which something was left out, as far as there is room."""
    for file in files[:REMARKS]:
        text = f"damaged: {file['node']}: {file['words']}"
        console.print(text, style="yellow", soft_wrap=True)
    if len(files) > REMARKS:
        more = f"damaged: {len(files) - REMARKS:,} more files; `capfilt status --json` lists them all"
        console.print(more, style="yellow")


def print_failed_shards(console: Console, session: Session) -> None:
    """A line for every shard that failed."""
    for failure in failed_shards(session):
        text = (
            f"failed: {failure['node']} {failure['shard']} after {failure['attempts']} attempt(s): {failure['error']}"
        )
        console.print(text, style="red", soft_wrap=True)


def print_stopped(console: Console, stopped: Mapping[str, str]) -> None:
    """A line for every stage that has stopped, with the reason."""
    for stage, reason in {name.split("/")[0]: reason for name, reason in stopped.items()}.items():
        console.print(f"stopped: {stage}: {reason}", style="red", soft_wrap=True)


def print_blocked(
    console: Console, graph: Graph, blocked: Collection[str], failed: Sequence[Mapping[str, Any]]
) -> None:
    """A line for every node that reads all shards at once and could not, with what it lacks."""
    for name in blocked:
        if not graph.nodes[name].spec.at_once:
            continue
        needed = graph.needed_by({name})
        lacks = [_name(graph, failure) for failure in failed if failure["node"] in needed]
        if not lacks:  # a stage above it has stopped, which is told
            continue
        more = f" and {len(lacks) - NAMED} more" if len(lacks) > NAMED else ""
        text = f"blocked: {name} reads all shards at once, and lacks {', '.join(lacks[:NAMED])}{more}"
        console.print(text, style="red", soft_wrap=True)


def _name(graph: Graph, failure: Mapping[str, Any]) -> str:
    return graph.nodes[failure["node"]].place(failure["shard"]) or f"{failure['node']} {failure['shard']}"


def _table(*titles: str, left: int) -> Table:
    """An empty table, its first columns of text, the others of numbers."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for number, title in enumerate(titles):
        table.add_column(title, overflow="fold", justify="left" if number < left else "right")
    return table
