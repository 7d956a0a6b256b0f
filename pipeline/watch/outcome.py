"""What a command prints for a person at its end."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from pipeline.dag.damaged import damaged_files
from pipeline.export.remembered import Known
from pipeline.session import Session
from pipeline.sql.catalog import Catalog
from pipeline.upkeep.forget import Forgotten
from pipeline.watch.answering import answering, print_answering
from pipeline.watch.captioning import captioning, print_captioning
from pipeline.watch.console import Console, say, single_line
from pipeline.watch.report import (
    print_blocked,
    print_damaged,
    print_failed_shards,
    print_funnel,
    print_plan,
    print_retrieval,
    print_runs,
    print_stopped,
    print_worst_hosts,
    retrieval,
    worst_hosts,
)
from pipeline.watch.rounds import print_rounds, rounds
from pipeline.watch.runs import runs
from stages.contract import MEASURED


def print_outcome(outcome: dict[str, Any], session: Session, views: Catalog) -> None:
    """What became of a run."""
    console = Console()
    console.print(outcome["summary"])
    console.print()
    print_funnel(console, views, _measured(session))
    print_retrieval(console, outcome["retrieval"])
    print_captioning(console, outcome["captioning"])
    print_answering(console, outcome["answering"])
    print_rounds(_wide(), outcome)
    print_damaged(Console(stderr=True), outcome["damaged"])
    print_failed_shards(Console(stderr=True), session)
    print_stopped(Console(stderr=True), outcome["stopped"])
    print_blocked(Console(stderr=True), session.graph, outcome["blocked"], outcome["failed"])
    for words in outcome["not_forgotten"]:
        say(words, err=True)
    console.print(f"\ntables: {outcome['output']}\nask them: duckdb {shlex.quote(outcome['catalog'])}", soft_wrap=True)


def print_status(session: Session, catalog: Catalog) -> None:
    """How far a run is, what it has lost and why, and which shards failed."""
    console = Console()
    print_runs(console, runs(session.store))
    print_plan(console, session.plans)
    console.print()
    print_funnel(console, catalog, _measured(session))
    print_worst_hosts(console, worst_hosts(catalog))
    print_retrieval(console, retrieval(catalog))
    print_captioning(console, captioning(catalog))
    print_answering(console, answering(catalog))
    print_rounds(_wide(), rounds(session.graph, catalog))
    print_damaged(console, damaged_files(session.graph, session.store))
    print_failed_shards(console, session)


def print_forgotten(done: Forgotten, removal_list: str, exports: Sequence[Known], target: str) -> None:
    """What was forgotten, and what is still to be made again."""
    say(f"{len(done.added)} new on {removal_list}")
    say(f"{done.rows} rows are on it; {done.images} images taken out, {done.tables} tables written anew")
    for tar in sorted(done.elsewhere):
        say(f"still in a tar of the source's own, which is not capfilt's to change: {tar}")
    for model in done.models:
        say(model.words)
    for found in exports:
        again = shlex.join(["capfilt", "export", target, found.destination, "--to", found.format])
        say(f"an export is out of date until it is made again: {again}")
    for words in (*done.odd, *done.failed.values()):
        say(words, err=True)


def print_rows(columns: list[str], rows: list[tuple[Any, ...]]) -> None:
    """A table for people."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(single_line(column), overflow="fold")
    for row in rows:
        table.add_row(*map(_cell, row))
    _wide().print(table)


def _wide() -> Console:
    """A terminal wraps at its own width; elsewhere a row is a line."""
    return Console(width=None if sys.stdout.isatty() else 10_000)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"  # the tables hold single precision; more digits would mean nothing
    return "" if value is None else single_line(str(value))


def _measured(session: Session) -> set[str]:
    """The sources that are measured on, and do not go all the way."""
    return {name for name, use in session.uses.items() if use in MEASURED}
