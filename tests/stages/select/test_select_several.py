"""Several who write, people among them, and several who judge."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from test_select import Row, select, table

from stages.select.spec import SPEC, SelectRecipe
from stages.tables import CAPTIONS, MATCHES, SIMILARITIES

Verdict = tuple[int | None, str]


def row(writer: str, candidate: int, caption: str, clip: float | None = 0.0, *itm: float | None) -> Row:
    """A candidate of the only image, with what each filter says of it."""
    origin = {"web": "web", "people": "human"}.get(writer, "synthetic")
    return {
        "key": "a",
        "writer": writer,
        "candidate": candidate,
        "origin": origin,
        "caption": caption,
        "clip_score": clip,
        "itm": itm,
    }


def tables(rows: list[Row], *, ranked: bool = True) -> dict[str, Any]:
    """A table of captions per writer; one of cosines, and as many of matches as the rows have, in another order."""
    writers = dict.fromkeys(one["writer"] for one in rows)
    captions = [table([one for one in rows if one["writer"] == writer], CAPTIONS) for writer in writers]
    found: dict[str, Any] = {"captions": captions}
    if ranked:
        found["similarities"] = table(rows[::-1], SIMILARITIES)
    filters = range(len(rows[0]["itm"])) if rows else ()
    if filters:
        found["matches"] = [table([one | {"itm_score": one["itm"][n]} for one in rows], MATCHES) for n in filters]
    return found


def verdicts(rows: list[Row], *, ranked: bool = True, **recipe: Any) -> list[Verdict]:
    """By row, whatever the order of the table."""
    found: pa.Table = select(tables(rows, ranked=ranked), **recipe).table
    columns = (found[name].to_pylist() for name in ("writer", "candidate", "rank", "reason"))
    by_place = {(writer, number): (rank, reason) for writer, number, rank, reason in zip(*columns, strict=True)}
    assert len(by_place) == len(rows)
    return [by_place[one["writer"], one["candidate"]] for one in rows]


def test_what_people_wrote_is_kept_and_comes_before_the_best_of_the_others() -> None:
    rows = [
        row("web", 0, "a web text", 0.1, 0.9),
        row("people", 1, "two dogs", 0.0, 0.0),
        row("people", 2, "TWO dogs", None, None),
        row("written", 1, "two  dogs", 0.9, 0.9),
        row("written", 2, "a dog and another", 0.5, 0.9),
        row("written", 3, "dogs", 0.4, 0.9),
        row("written", 4, "noise", 0.6, 0.1),
    ]
    people = [(1, "human"), (2, "human")]
    assert verdicts(rows, k=2) == [
        (5, "outranked"),
        *people,
        (None, "duplicate"),
        (3, "kept"),
        (4, "kept"),
        (None, "below_threshold"),
    ]
    assert verdicts(rows, k=1)[4:6] == [(3, "kept"), (4, "outranked")]
    assert verdicts(rows, k=None) == [
        (5, "kept"),
        *people,
        (None, "duplicate"),
        (3, "kept"),
        (4, "kept"),
        (None, "below_threshold"),
    ]


def test_all_that_passes_is_kept_without_a_rank_in_the_order_of_the_writers() -> None:
    rows = [
        row("web", 0, "w", None, 0.6),
        row("b", 1, "b1", None, 0.5),
        row("a", 1, "a1", None, 0.4),
        row("a", 2, "B1", None, 1.0),
    ]
    found = verdicts(rows, ranked=False, k=None)
    assert found == [(1, "kept"), (2, "kept"), (None, "below_threshold"), (None, "duplicate")]
    assert verdicts(rows, ranked=False, k=None, itm_threshold=None)[2] == (3, "kept")
    assert verdicts(rows, ranked=False, k=1)[:2] == [(1, "kept"), (2, "outranked")]


def test_two_writers_may_give_the_same_numbers() -> None:
    rows = [row("one", 1, "x", 0.1, 1.0), row("two", 1, "y", 0.2, 1.0), row("two", 2, "X", 0.9, 1.0)]
    assert verdicts(rows, k=1) == [(2, "outranked"), (1, "kept"), (None, "duplicate")]
    for role, at in (("similarities", 0), ("matches", 0)):
        wrong = tables(rows)
        found = wrong[role] if isinstance(wrong[role], list) else [wrong[role]]
        found[at] = found[at].set_column(1, found[at].schema.field("writer"), pa.array(["one", "two", "three"]))
        with pytest.raises(ValueError, match="does not cover"):
            select(wrong | {role: found})


@pytest.mark.parametrize(
    ("join", "passing"),
    [
        ("mean", ["both", "the first", "just"]),
        ("all", ["both", "just"]),
        ("any", ["both", "the first", "the second", "just"]),
    ],
)
def test_several_filters_are_joined(join: str, passing: list[str]) -> None:
    rows = [
        row("w", 1, "both", 0, 0.9, 0.8),
        row("w", 2, "the first", 0, 0.9, 0.2),
        row("w", 3, "the second", 0, 0.1, 0.6),
        row("w", 4, "neither", 0, 0.4, 0.45),
        row("w", 5, "just", 0, 0.5, 0.5),
        row("w", 6, "one unknown", 0, 1.0, None),
        row("w", 7, "the other unknown", 0, math.nan, 1.0),
    ]
    reasons = [reason for _, reason in verdicts(rows, k=None, join=join)]
    assert [one["caption"] for one, reason in zip(rows, reasons, strict=True) if reason == "kept"] == passing
    assert reasons[5:] == ["unscored", "unscored"]


JOINS = {"mean": np.mean, "all": np.min, "any": np.max}
SCORE = st.none() | st.integers(0, 8).map(lambda eighth: eighth / 8)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(SCORE, SCORE, SCORE), min_size=1, max_size=6), st.sampled_from(sorted(JOINS)), st.integers(0, 8)
)
def test_joined_scores_are_those_of_numpy(scores: list[tuple[float | None, ...]], join: str, eighth: int) -> None:
    rows = [row("w", number, f"text {number}", 0.0, *of_row) for number, of_row in enumerate(scores)]
    found = [reason for _, reason in verdicts(rows, k=None, itm_threshold=eighth / 8, join=join)]
    for of_row, reason in zip(scores, found, strict=True):
        if None in of_row:
            assert reason == "unscored"
        else:
            passes = np.float32(JOINS[join](np.array(of_row, np.float64))) >= eighth / 8
            assert reason == ("kept" if passes else "below_threshold")


def test_a_join_that_there_is_not() -> None:
    with pytest.raises(ValidationError):
        SelectRecipe.model_validate({"join": "median"})
    assert SPEC.reads["matches"].many
    assert not SPEC.reads["similarities"].many
