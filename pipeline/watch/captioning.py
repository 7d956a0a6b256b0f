"""What captions were measured to be worth, as a command says it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from rich.table import Table

from pipeline.sql.catalog import Catalog, query
from pipeline.watch.console import Console, records

SHOWN: Final = ("CIDEr-D", "BLEU-4", "ROUGE-L", "CLIPScore")
"""The measures that fit into a line; the view `captioning` has all."""


def captioning(catalog: Catalog) -> list[dict[str, Any]]:
    """Every value: step, source, part of it, images, texts, measure, value, error; nothing before any was measured."""
    sql = """
        SELECT made_by AS step, source, subset, images, texts, measure, value, error
        FROM captioning ORDER BY step, source, subset <> 'all', subset
    """
    return records(*query(catalog, sql))


def print_captioning(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    """A line per source and part of it, in percent, if anything was measured; and why some of it was not."""
    if not rows:
        return
    measures = [name for name in SHOWN if any(row["measure"] == name and row["value"] is not None for row in rows)]
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("captioning", "source"):
        table.add_column(name, no_wrap=True)
    for name in ("images", *measures):
        table.add_column(name, justify="right", no_wrap=True)
    lines: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        part = "" if row["subset"] == "all" else f" {row['subset']}"
        line = lines.setdefault((row["step"], f"{row['source']}{part}"), {"images": 0})
        line["images"] = max(line["images"], row["images"])
        if row["value"] is not None:
            line[row["measure"]] = f"{100 * row['value']:.1f}"
    for place, line in lines.items():
        table.add_row(*place, f"{line['images']:,}", *(line.get(measure, "") for measure in measures))
    console.print()
    console.print(table)
    for error in dict.fromkeys(row["error"] for row in rows if row["error"]):
        console.print(f"  {error}", soft_wrap=True)
