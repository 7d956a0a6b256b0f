"""Whether a round is better than the one before, on the same images that nothing learns from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

import numpy as np

from pipeline.sql.catalog import Catalog, query
from pipeline.sql.scan import text
from stages.metrics.bootstrap import Share, paired_difference

# ruff: noqa: S608 - the SQL is this project's own, its texts too
Numbers = Mapping[str, int | None]
"""The round of every step."""


@dataclass(frozen=True)
class _Measure:
    """What of every image is compared."""

    name: str
    sql: str
    """Rows of made_by, of what is told apart beside it, and of numbers of an image: pairs of what was found, and of how
    much there was."""
    apart: tuple[str, ...]
    """The columns by which sets are told apart."""
    shares: int


_MEASURES: Final = (
    _Measure(
        "retrieval R@1",
        # the mean of both directions; a text counts with its image
        """
        SELECT made_by, source, model, key, count(*) FILTER (direction = 'image_to_text' AND "rank" = 1) AS found_0,
               count(*) FILTER (direction = 'image_to_text') AS of_0,
               count(*) FILTER (direction = 'text_to_image' AND "rank" = 1) AS found_1,
               count(*) FILTER (direction = 'text_to_image') AS of_1
        FROM ranks WHERE model LIKE '%\\_itm' ESCAPE '\\' GROUP BY ALL
        """,
        ("source", "model"),
        2,
    ),
    _Measure(
        "CIDEr-D",
        "SELECT made_by, source, key, value AS found_0, 1 AS of_0 FROM raw_captioning WHERE key IS NOT NULL",
        ("source",),
        1,
    ),
)


def gains(numbers: Numbers, catalog: Catalog) -> list[dict[str, Any]]:
    """Every round's measures against those of the round before, where steps of one name measured both.

    Args:
        numbers: the round of every step, as `rounds_of` gives it.
        catalog: the views.

    Returns:
        round, step, measure, source, model (None where a set has but one), images, and of the paired bootstrap
        difference, low, high and verdict: `gain`, `loss`, or `none` where the interval of 95 % includes 0.
    """
    shown = dict(query(catalog, "SELECT DISTINCT step, made_by FROM steps")[1])
    pairs = list(_pairs(numbers))
    return [
        {"round": numbers[later], "step": later, "measure": measure.name, **found}
        for earlier, later in pairs
        for measure in _MEASURES
        for found in _compare(catalog, measure, shown[earlier], shown[later])
    ]


def in_words(gain: Mapping[str, Any]) -> str:
    """One comparison: `round 2: retrieval R@1 of matcher_itm on coco +3.1 points (95 %: +1.2 … +5.0, 500 images)`."""
    difference, low, high = (_signed(100 * gain[name]) for name in ("difference", "low", "high"))
    begin = {"gain": "", "none": "no gain in ", "loss": "loss in "}[gain["verdict"]]
    model = f" of {gain['model']}" if gain["model"] else ""
    what = f"{gain['measure']}{model} on {gain['source']}"
    bounds = f"95 %: {low} … {high}, {gain['images']:,} images"
    return f"{begin}round {gain['round']}: {what} {difference} points ({bounds})"


def _pairs(numbers: Numbers) -> Iterator[tuple[str, str]]:
    """Steps of one name in consecutive rounds."""
    by_place = {(step.partition("@")[0], number): step for step, number in numbers.items() if number is not None}
    for (section, number), step in by_place.items():
        if (before := by_place.get((section, number - 1))) is not None:
            yield before, step


def _compare(catalog: Catalog, measure: _Measure, earlier: str, later: str) -> Iterator[dict[str, Any]]:
    names = [f"{what}_{number}" for number in range(measure.shares) for what in ("found", "of")]
    columns = ", ".join(f"{side}.{name}" for side in ("earlier", "later") for name in names)
    apart = ", ".join(measure.apart)
    sql = f"""
        WITH images AS ({measure.sql})
        SELECT {apart}, {columns} FROM images AS earlier JOIN images AS later USING ({apart}, key)
        WHERE earlier.made_by = {text(earlier)} AND later.made_by = {text(later)} ORDER BY {apart}, key
    """
    first = len(measure.apart)  # of the numbers
    for key, rows in groupby(query(catalog, sql)[1], lambda row: row[:first]):
        table = np.array([row[first:] for row in rows], np.float64)
        shares = [Share(table[:, at], table[:, at + 1]) for at in range(0, table.shape[1], 2)]
        found = paired_difference(shares[: measure.shares], shares[measure.shares :])
        values = {"difference": found.value, "low": found.low, "high": found.high, "verdict": found.verdict}
        yield {"model": None, **dict(zip(measure.apart, key, strict=True)), "images": found.images, **values}


def _signed(points: float) -> str:
    """A number with its sign, which is a minus and no hyphen."""
    return f"{points:+.1f}".replace("-", "\N{MINUS SIGN}")
