"""What each round of a manifest came to: what its filters rejected and kept, its losses, and what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from rich.table import Table

from pipeline.dag.graph import Graph
from pipeline.sql.catalog import Catalog, query
from pipeline.sql.steps import rounds_of
from pipeline.watch.console import Console, records
from pipeline.watch.gains import gains, in_words

Row: TypeAlias = Mapping[str, Any]
Rows: TypeAlias = Sequence[Row]
Cells: TypeAlias = Iterator[tuple[str, str]]
"""Titles of columns, and what stands there."""
AFTER: Final = "after"
"""What the steps below `rounds` are called."""
_NOISE: Final = """
    SELECT step, origin, sum(texts)::BIGINT AS texts, sum(judged)::BIGINT AS judged, sum(rejected)::BIGINT AS rejected,
           sum(kept)::BIGINT AS kept
    FROM noise GROUP BY step, origin ORDER BY origin DESC
"""
_LOSSES: Final = """
    WITH told AS (
        SELECT made_by, step AS update, measure, value FROM training WHERE measure NOT LIKE 'holdout%'
        UNION ALL
        SELECT made_by, step, measure, value
        FROM (SELECT made_by, step, loss, itc, itm, itg FROM pretraining WHERE phase = 'train')
             UNPIVOT (value FOR measure IN (loss, itc, itm, itg))
    )
    SELECT steps.step, measure, arg_max(value, update) AS value, max(update) AS updates
    FROM told JOIN (SELECT DISTINCT step, made_by FROM steps) AS steps USING (made_by)
    GROUP BY steps.step, measure ORDER BY measure <> 'loss', measure
"""
_RETRIEVAL: Final = """
    SELECT steps.step, source, model, max(recall) FILTER (direction = 'image_to_text') AS image_to_text,
           max(recall) FILTER (direction = 'text_to_image') AS text_to_image, any_value(images) AS images,
           any_value(texts) AS texts
    FROM retrieval JOIN (SELECT DISTINCT step, made_by FROM steps) AS steps USING (made_by)
    WHERE k = 1 GROUP BY steps.step, source, model ORDER BY source, model
"""
_CAPTIONING: Final = """
    SELECT steps.step, source, subset, measure, value, images
    FROM captioning JOIN (SELECT DISTINCT step, made_by FROM steps) AS steps USING (made_by)
    WHERE value IS NOT NULL ORDER BY source, subset <> 'all', subset, measure
"""
SHOWN: Final = ("CIDEr-D", "BLEU-4")
"""The measures of captions that fit into a line."""


def rounds(graph: Graph, catalog: Catalog) -> dict[str, Any]:
    """All that is told of rounds, and where one is better than the one before; empty where a manifest has none.

    Args:
        graph: the steps.
        catalog: the views.

    Returns:
        `rounds`, for each its number (None: below `rounds`) and by kind what was measured of its steps, in their order;
        and `gains`, see there.
    """
    numbers = rounds_of(graph)
    if not numbers:
        return {"rounds": [], "gains": []}
    found = {
        "selections": [_selection(rows) for rows in _by_step(catalog, _NOISE).values()],
        "trainings": [_training(rows) for rows in _by_step(catalog, _LOSSES).values()],
        "retrieval": [row for rows in _by_step(catalog, _RETRIEVAL).values() for row in rows],
        "captioning": [row for rows in _by_step(catalog, _CAPTIONING).values() for row in rows],
    }
    order = list(numbers)
    for rows in found.values():
        rows.sort(key=lambda row: order.index(row["step"]))
    told = [
        {
            "round": number,
            **{kind: [row for row in rows if numbers[row["step"]] == number] for kind, rows in found.items()},
        }
        for number in dict.fromkeys(numbers.values())
    ]
    return {"rounds": [row for row in told if any(row[kind] for kind in found)], "gains": gains(numbers, catalog)}


def print_rounds(console: Console, found: Mapping[str, Any]) -> None:
    """A line for every round, and one for every comparison with the round before, if there are rounds."""
    if not found["rounds"]:
        return
    by_kind = [dict(cells(row[kind])) for kind, cells in _CELLS.items() for row in found["rounds"]]
    titles = list(dict.fromkeys(title for cells in by_kind for title in cells))
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("round", vertical="bottom")
    for title in titles:
        table.add_column(title, justify="right", overflow="fold", vertical="bottom")
    for row in found["rounds"]:
        line = {title: text for kind, cells in _CELLS.items() for title, text in cells(row[kind])}
        name = AFTER if row["round"] is None else str(row["round"])
        table.add_row(name, *(line.get(title, "") for title in titles))
    console.print()
    console.print(table)
    for gain in found["gains"]:
        console.print(f"  {in_words(gain)}", soft_wrap=True)


def _of_selections(rows: Rows) -> Cells:
    """Of several the last one's."""
    for row in rows[-1:]:
        yield "noise", _percent(row["noise_ratio"])
        yield from ((f"{each['origin']}\nkept", _percent(each["share_kept"])) for each in row["origins"])


def _of_trainings(rows: Rows) -> Cells:
    for row in rows:
        if "loss" in row["last"]:
            yield f"{_section(row)}\nloss", f"{row['last']['loss']:.3g}"


def _of_retrieval(rows: Rows) -> Cells:
    """What ITM finds, as the papers report it; JSON has the others."""
    for row in rows:
        if row["model"].endswith("_itm"):
            title = f"{_measured(row, 'evaluate')}\n{row['model']}"
            yield f"{title}\nimage\nto text R@1", _percent(row["image_to_text"])
            yield f"{title}\ntext to\nimage R@1", _percent(row["text_to_image"])


def _of_captioning(rows: Rows) -> Cells:
    for row in rows:
        if row["subset"] == "all" and row["measure"] in SHOWN:
            yield f"{_measured(row, 'evaluate_captions')}\n{row['measure']}", f"{100 * row['value']:.1f}"


_CELLS: Final[Mapping[str, Callable[[Rows], Cells]]] = {
    "selections": _of_selections,
    "trainings": _of_trainings,
    "retrieval": _of_retrieval,
    "captioning": _of_captioning,
}
"""What a line says of each kind, by the titles of its columns."""


def _measured(row: Row, usual: str) -> str:
    """What was measured on, and by which section, where that has a name of its own."""
    return row["source"] if (section := _section(row)) == usual else f"{section} of\n{row['source']}"


def _by_step(catalog: Catalog, sql: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in records(*query(catalog, sql)):
        found.setdefault(row["step"], []).append(row)
    return found


def _selection(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a selection did with texts of each origin, and of all: those that people wrote are kept unjudged."""
    origins = [{**row, "share_kept": _share(row["kept"], row["texts"])} for row in rows]
    judged, rejected = (sum(row[name] for row in rows) for name in ("judged", "rejected"))
    own = [{name: value for name, value in row.items() if name != "step"} for row in origins]
    noise = {"judged": judged, "rejected": rejected, "noise_ratio": _share(rejected, judged)}
    return {"step": rows[0]["step"], **noise, "origins": own}


def _training(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The numbers of a training's last update."""
    last = {row["measure"]: row["value"] for row in rows}
    return {"step": rows[0]["step"], "updates": max(row["updates"] for row in rows), "last": last}


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def _section(row: Row) -> str:
    return str(row["step"]).partition("@")[0]
