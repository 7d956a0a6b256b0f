"""What several captioners and filters ask of a selection: shuffled texts, fitted weights, lengths, writers, repeats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.special import expit, logit
from test_select import Row, select, table
from test_select_several import row, tables, verdicts

from stages.contract import Wired
from stages.select.spec import SPEC, SelectRecipe, check
from stages.tables import CAPTIONS, MATCHES, REPEATS, SIMILARITIES, WEIGHTS


def test_a_shuffled_text_is_never_kept_and_takes_the_place_of_none() -> None:
    rows = [
        row("shuffler", 0, "A dog", 1.0, 1.0) | {"origin": "shuffled"},
        row("people", 1, "two cats", 0.1, 0.1),
        row("written", 1, "a dog", 0.5, 0.9),
        row("web", 0, "", None, None),
    ]
    found = [(None, "shuffled"), (1, "human"), (2, "kept"), (None, "empty")]
    for k in (1, None):
        assert verdicts(rows, k=k) == found
    without_text = [rows[0] | {"caption": ""}, *rows[1:]]
    assert verdicts(without_text) == found


def test_fitted_weights_join_filters_to_a_probability() -> None:
    scores = [(0.9, 0.2), (0.6, 0.6), (0.3, 0.99), (0.0, 1.0), (0.9, None), (None, 0.9)]
    rows = [row("w", number, f"text {number}", 0.0, *of_row) for number, of_row in enumerate(scores)]
    weights = np.array([-0.2, 1.5, 0.5])
    fitted = {"filter": [2, 0, 1], "weight": weights[[2, 0, 1]]} | {name: [0, 0, 0] for name in WEIGHTS.names[2:]}
    found = tables(rows) | {"weights": pa.table(fitted, WEIGHTS)}
    clipped = np.clip(np.array(scores[:4], np.float64), 1e-6, 1 - 1e-6)
    chances = expit(weights[0] + logit(clipped) @ weights[1:])
    for threshold in (0.05, 0.3, 0.5, 0.7):
        reasons = select(found, k=None, join="fitted", itm_threshold=threshold).table["reason"].to_pylist()
        assert reasons[:4] == ["kept" if chance >= threshold else "below_threshold" for chance in chances]
        assert reasons[4:] == ["unscored", "unscored"]


def test_people_whom_no_filter_judges_need_no_weights() -> None:
    people = {"captions": table([row("people", 1, "x")], CAPTIONS)}
    fitted = pa.table({name: [0, 1] for name in WEIGHTS.names}, WEIGHTS)
    assert select(people | {"weights": fitted}, join="fitted").table["reason"].to_pylist() == ["human"]


@pytest.mark.parametrize(
    ("penalty", "order"), [(0.0, ["long", "middle", "short"]), (0.015, ["middle", "long", "short"]), (0.1, ["short"])]
)
def test_a_length_penalty_ranks_by_the_cosine_less_what_words_cost(penalty: float, order: list[str]) -> None:
    texts = {"short": ("a dog", 0.20), "middle": (" a  dog\non grass ", 0.25), "long": ("a dog on the grass", 0.26)}
    rows = [row("w", number, text, clip, 1.0) for number, (text, clip) in enumerate(texts.values())]
    ranks = [rank for rank, _ in verdicts(rows, k=3, length_penalty=penalty)]
    by_rank = [name for _, name in sorted(zip(ranks, texts, strict=True))]
    assert by_rank[: len(order)] == order


def test_a_writer_has_so_many_kept_and_the_next_best_of_others_follows() -> None:
    rows = [
        row("people", 1, "people", 0.0, 1.0),
        row("people", 2, "people again", 0.0, 1.0),
        row("a", 1, "a1", 0.9, 1.0),
        row("a", 2, "a2", 0.8, 1.0),
        row("a", 3, "a3", 0.7, 1.0),
        row("b", 1, "b1", 0.1, 1.0),
        row("b", 2, "b2", 0.2, 1.0),
        row("b", 3, "b3", 0.3, 0.0),
    ]
    people = [(1, "human"), (2, "human")]
    noise = (None, "below_threshold")
    assert verdicts(rows, k=3, per_writer=1) == [
        *people,
        (3, "kept"),
        (5, "outranked"),
        (6, "outranked"),
        (7, "outranked"),
        (4, "kept"),
        noise,
    ]
    assert [reason for _, reason in verdicts(rows, k=3, per_writer=2)[2:]] == [
        "kept",
        "kept",
        "outranked",
        "outranked",
        "kept",
        "below_threshold",
    ]
    assert verdicts(rows, k=3, per_writer=3) == verdicts(rows, k=3)
    every = [reason for _, reason in verdicts(rows, k=None, per_writer=1)]
    assert every.count("kept") == 2
    assert verdicts(rows, ranked=False, k=1, per_writer=1)[2:4] == [(3, "kept"), (5, "outranked")]


ITEM = st.tuples(
    st.sampled_from("pq"),
    st.sampled_from(["web", "people", "one", "two"]),
    st.lists(st.sampled_from(["dog", "cat", "the"]), min_size=1, max_size=4).map(" ".join),
    st.integers(-4, 4).map(lambda eighth: eighth / 8),
)


def chosen(items: list[tuple[str, str, str, float]], k: int, penalty: float, per_writer: int) -> list[str]:
    """What becomes of the candidates of one image, one after the other, as one would do it by hand."""
    reasons, said = [""] * len(items), set[str]()
    for number, (_, writer, text, _) in sorted(enumerate(items), key=lambda one: one[1][1] != "people"):
        reasons[number] = "human" if writer == "people" else "duplicate" if text in said else ""
        said.add(text)
    left = [number for number, reason in enumerate(reasons) if not reason]
    kept: list[str] = []
    for number in sorted(left, key=lambda number: -(items[number][3] - penalty * len(items[number][2].split()))):
        writer = items[number][1]
        keeps = len(kept) < k and kept.count(writer) < per_writer
        kept += [writer] if keeps else []
        reasons[number] = "kept" if keeps else "outranked"
    return reasons


@settings(max_examples=60, deadline=None)
@given(st.lists(ITEM, min_size=1, max_size=12), st.integers(1, 4), st.sampled_from([0.0, 0.125]), st.integers(1, 3))
def test_it_is_what_one_would_choose_by_hand_and_hangs_on_no_other_image(
    items: list[tuple[str, str, str, float]], k: int, penalty: float, per_writer: int
) -> None:
    items.sort(key=lambda item: ["web", "people", "one", "two"].index(item[1]))  # ties go by the order of the writers
    rows: list[Row] = []
    for image, writer, text, clip in items:
        number = sum(one["key"] == image and one["writer"] == writer for one in rows) + 1
        rows.append(row(writer, number, text, clip) | {"key": image})
    writers = dict.fromkeys(one["writer"] for one in rows)
    captions = [table([one for one in rows if one["writer"] == writer], CAPTIONS) for writer in writers]
    recipe = {"k": k, "length_penalty": penalty, "per_writer": per_writer}
    found = select({"captions": captions, "similarities": table(rows, SIMILARITIES)}, **recipe).table
    for image in "pq":
        own = [item for item in items if item[0] == image]
        mine = [row["reason"] for row in found.to_pylist() if row["key"] == image]
        assert mine == chosen(own, k, penalty, per_writer)


def test_a_common_text_goes_where_the_table_says_so_and_the_next_best_takes_its_place() -> None:
    rows = [
        row("w", 1, "stock photo", 0.9, 0.9),
        row("w", 2, "a dog", 0.5, 0.9),
        row("w", 3, "stock footage", 0.8, 0.1),
        row("people", 1, "a photo", 0.1, 0.1),
    ]
    named = [one | {"shard": "s", "images": 9} for one in (rows[0], rows[2])]
    elsewhere = [one | {"shard": "another", "images": 9} for one in (rows[1],)]
    found = tables(rows) | {"repeats": table([*elsewhere, *named], REPEATS)}
    output = select(found, k=1)
    assert dict(zip(output.table["writer"].to_pylist(), output.table["rank"].to_pylist(), strict=True))["people"] == 1
    by_text = dict(zip((one["caption"] for one in rows), output.table["reason"].to_pylist(), strict=True))
    assert by_text == {
        "stock photo": "common",
        "a dog": "kept",
        "stock footage": "below_threshold",  # that it is noise is told first
        "a photo": "human",
    }
    assert output.counts["common"] == 1


WEIGHED = {"captions": {"annotate": "annotate"}, "matches": {"f": "filter"}, "similarities": {"rank": "rank"}}


@pytest.mark.parametrize(
    ("recipe", "reads", "told"),
    [
        ({"join": "fitted"}, WEIGHED, "add 'shuffle: {}' above the first 'filter', and 'weigh: {}' between"),
        ({}, WEIGHED | {"weights": {"weigh": "weigh"}}, "set 'join: fitted', or leave that section out"),
        ({"join": "fitted"}, WEIGHED | {"weights": {"weigh": "weigh"}}, ""),
        ({"k": None, "length_penalty": 0.1}, {role: WEIGHED[role] for role in ("captions", "matches")}, "no 'rank'"),
        ({"length_penalty": 0.1}, WEIGHED, ""),
    ],
)
def test_what_is_said_before_anything_runs(recipe: dict[str, Any], reads: dict[str, Any], told: str) -> None:
    found = [words for _, words in check(SelectRecipe(**recipe), {"web": Wired("web", reads)})]
    assert len(found) == bool(told)
    assert not told or told in found[0]


def test_bounds() -> None:
    for wrong in ({"length_penalty": -0.1}, {"length_penalty": 2}, {"per_writer": 0}):
        with pytest.raises(ValidationError):
            SelectRecipe(**wrong)
    assert SPEC.reads["weights"].of == "matches"
    assert MATCHES.names[:3] == SIMILARITIES.names[:3]


def test_the_penalty_that_the_page_finds_is_what_words_are_worth() -> None:
    """Both queries of the page, where a word is worth 0.01, and an image that has long texts is worth more."""
    import re

    import duckdb

    page = (Path(__file__).parents[3] / "docs/rounds.md").read_text()
    found = [sql for sql in re.findall(r"```sql\n(.*?)```", page, re.DOTALL) if "regr_slope" in sql]
    random, rows = np.random.default_rng(0), []
    for image in range(400):
        for origin, longer in (("shuffled", 0), *[("synthetic", image % 7)] * 4):
            words = int(random.integers(1, 12)) + longer
            clip = 0.2 + 0.01 * words + (0.05 * longer if origin == "synthetic" else 0) + random.normal(0, 0.01)
            rows.append({"key": image, "origin": origin, "clip_score": clip, "caption": " \n".join(["ab"] * words)})
    captions = pa.Table.from_pylist(rows)
    with duckdb.connect() as database:
        database.register("captions", captions)
        slopes = [database.sql(sql).fetchall()[0][0] for sql in found]
    assert slopes == pytest.approx([0.01, 0.01], abs=1e-3)
