"""How right a model's answers to questions are, as a command says it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from pipeline.sql.catalog import Catalog, query
from pipeline.watch.console import Console, records


def answering(catalog: Catalog) -> list[dict[str, Any]]:
    """Every value: step, source, part of it, questions, measure, value; nothing before any was measured."""
    sql = """
        SELECT made_by AS step, source, subset, questions, measure, value
        FROM answering ORDER BY step, source, subset <> 'all', subset
    """
    return records(*query(catalog, sql))


def print_answering(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    """A line per source and type of answers, in percent, if anything was measured."""
    if not rows:
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("answering", "source"):
        table.add_column(name, no_wrap=True)
    for name in ("questions", rows[0]["measure"]):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        part = "" if row["subset"] == "all" else f" {row['subset']}"
        table.add_row(row["step"], f"{row['source']}{part}", f"{row['questions']:,}", f"{100 * row['value']:.1f}")
    console.print()
    console.print(table)
