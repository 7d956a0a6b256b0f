"""The view `steps`: the steps of a manifest, each with its round, and under which name its rows stand in the others.

Two steps that do the same to the same rows have one result, whose rows are shown once, under the later name. Whoever
asks for all rounds therefore joins `steps`.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.dag.graph import Graph
from pipeline.sql.scan import text

# ruff: noqa: S608 - the SQL is this project's own, its texts too
_COLUMNS = {"step": "VARCHAR", "stage": "VARCHAR", "round": "INTEGER", "source": "VARCHAR", "made_by": "VARCHAR"}


def rounds_of(graph: Graph) -> dict[str, int | None]:
    """The round of every step, in their order: 0 before `rounds`, None behind them; empty where there are none."""
    steps = list(dict.fromkeys(node.step for node in graph.nodes.values()))
    numbers = [int(number) if (number := step.partition("@")[2]) else None for step in steps]
    if not any(numbers):
        return {}
    begin = next(place for place, number in enumerate(numbers) if number)
    return {
        step: 0 if number is None and place < begin else number
        for place, (step, number) in enumerate(zip(steps, numbers, strict=True))
    }


def steps_view(graph: Graph) -> str:
    """The SQL of the view: step, stage, round, source (None: of all), made_by."""
    empty = ", ".join(f"NULL::{kind} AS {name}" for name, kind in _COLUMNS.items())
    rows = [f"({', '.join(row)})" for row in _rows(graph)]
    if not rows:
        return f"SELECT {empty} WHERE false"
    casts = ", ".join(f"{name}::{kind} AS {name}" for name, kind in _COLUMNS.items())
    return f"SELECT {casts} FROM (VALUES {', '.join(rows)}) AS found({', '.join(_COLUMNS)})"


def _rows(graph: Graph) -> Iterator[list[str]]:
    rounds = rounds_of(graph)
    shown = {node.version: node.step for node in graph.nodes.values()}
    for node in graph.nodes.values():
        number = rounds.get(node.step)
        round_, source = ("NULL" if number is None else str(number)), node.source and text(node.source)
        yield [text(node.step), text(node.spec.name), round_, source or "NULL", text(shown[node.version])]
