"""What each round of a manifest came to: what its filters rejected and kept, its losses, and what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from rich.table import Table

from pipeline.dag.graph import Graph
from pipeline.sql.catalog import Catalog, query
from pipeline.sql.steps import rounds_of
from pipeline.watch.console import Console, records
from pipeline.watch.gains import gains, in_words

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
_SHOWN: Final = ("CIDEr-D", "BLEU-4")


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
    lines = [dict(_cells(row)) for row in found["rounds"]]
    table = Table(box=None, pad_edge=False, header_style="dim")
    for number, title in enumerate(titles := list(dict.fromkeys(title for line in lines for title in line))):
        table.add_column(title, justify="right" if number else "left", overflow="fold", vertical="bottom")
    for line in lines:
        table.add_row(*(line.get(title, "") for title in titles))
    console.print()
    console.print(table)
    for gain in found["gains"]:
        console.print(f"  {in_words(gain)}", soft_wrap=True)


def _cells(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What a line says, by the title of its column; of several selections the last one's."""
    yield "round", AFTER if row["round"] is None else str(row["round"])
    for selection in row["selections"][-1:]:
        yield "noise", _percent(selection["noise_ratio"])
        yield from ((f"{each['origin']}\nkept", _percent(each["share_kept"])) for each in selection["origins"])
    for training in row["trainings"]:
        if "loss" in training["last"]:
            yield f"{_section(training['step'])}\nloss", f"{training['last']['loss']:.3g}"
    for each in row["retrieval"]:
        if each["model"].endswith("_itm"):
            title = f"{_section(each['step'])} of\n{each['source']}\n{each['model']}"
            yield f"{title}\nimage to text", _percent(each["image_to_text"])
            yield f"{title}\ntext to image", _percent(each["text_to_image"])
    for each in row["captioning"]:
        if each["subset"] == "all" and each["measure"] in _SHOWN:
            yield f"{_section(each['step'])} of\n{each['source']}\n{each['measure']}", f"{100 * each['value']:.1f}"


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


def _section(step: str) -> str:
    return step.partition("@")[0]
