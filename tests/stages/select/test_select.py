from __future__ import annotations

import math
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from stages.contract import Output, RunOptions, Shard
from stages.io.shards import Artifact
from stages.select.compute import Select
from stages.select.spec import SelectRecipe
from stages.tables import CAPTIONS, MATCHES, SELECTION, SIMILARITIES

Row = dict[str, Any]


def row(key: str, candidate: int, caption: str, clip: float | None = 0.0, itm: float | None = 1.0) -> Row:
    return {"key": key, "candidate": candidate, "caption": caption, "clip_score": clip, "itm_score": itm}


def table(rows: list[Row], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist([{"origin": "web", "writer": "w", **one} for one in rows], schema=schema)


def select(tables: dict[str, pa.Table | list[pa.Table]], **recipe: Any) -> Output:
    with tempfile.TemporaryDirectory() as folder:
        inputs = {}
        for role, content in tables.items():
            several = content if isinstance(content, list) else [content]
            paths = [Path(folder) / f"{role}-{number}" for number in range(len(several))]
            for one, path in zip(several, paths, strict=True):
                pq.write_table(one, path)
            inputs[role] = tuple(Artifact(str(path)) for path in paths)
        output = Select(SelectRecipe(**recipe), RunOptions())(Shard(inputs, "s", Path(folder)))
    assert output.table.schema == SELECTION
    return output


def web_tables(rows: list[Row], *, filtered: bool = True) -> dict[str, pa.Table | list[pa.Table]]:
    tables: dict[str, Any] = {"captions": table(rows, CAPTIONS), "similarities": table(rows, SIMILARITIES)}
    return tables | ({"matches": table(rows, MATCHES)} if filtered else {})


def verdicts(rows: list[Row], **recipe: Any) -> list[tuple[int | None, str]]:
    found = select(web_tables(rows), **recipe).table
    assert found["key"].to_pylist() == [one["key"] for one in rows]
    assert found["candidate"].to_pylist() == [one["candidate"] for one in rows]
    assert found["kept"].to_pylist() == [reason == "kept" for reason in found["reason"].to_pylist()]
    return list(zip(found["rank"].to_pylist(), found["reason"].to_pylist(), strict=True))


def test_the_best_by_clip_are_kept_among_those_that_pass() -> None:
    rows = [
        row("a", 0, "web text", 0.2, 0.9),
        row("a", 1, "best, but noise", 0.9, 0.4999),
        row("a", 2, "second", 0.5, 0.5),
        row("a", 3, "first", 0.6, 0.6),
        row("b", 0, "all noise", 0.9, 0.1),
    ]
    assert verdicts(rows) == [
        (3, "outranked"),
        (None, "below_threshold"),
        (2, "kept"),
        (1, "kept"),
        (None, "below_threshold"),
    ]
    output = select(web_tables(rows))
    assert dict(output.counts) == {
        "images": 2,
        "kept": 2,
        "images_kept": 1,
        "human": 0,
        "shuffled": 0,
        "outranked": 1,
        "below_threshold": 2,
        "unscored": 0,
        "common": 0,
        "duplicate": 0,
        "empty": 0,
    }


def test_ties_go_by_candidate_number_not_by_row() -> None:
    rows = [row("a", 2, "two"), row("a", 0, "zero"), row("a", 1, "one")]
    assert verdicts(rows, k=1) == [(3, "outranked"), (1, "kept"), (2, "outranked")]


def test_equal_texts_stay_once_and_the_first_candidate_stays() -> None:
    rows = [
        row("a", 1, "A  Cat\u00a0SITS", 0.9),
        row("a", 0, " a cat sits\n", 0.1),
        row("b", 1, "a cat sits"),
        row("b", 2, "STRASSE"),
        row("b", 3, "straße"),
    ]
    assert [reason for _, reason in verdicts(rows)] == ["duplicate", "kept", "kept", "kept", "duplicate"]


def test_the_first_reason_wins() -> None:
    rows = [
        row("a", 0, " \n", None, None),
        row("a", 1, "", None, None),
        row("a", 2, "x", 0.5, 0.1),
        row("a", 3, "X", 0.9, 0.1),
    ]
    assert [reason for _, reason in verdicts(rows)] == ["empty", "empty", "below_threshold", "duplicate"]


def test_a_duplicate_of_noise_is_no_second_chance() -> None:
    rows = [row("a", 0, "x", 0.5, 0.1), row("a", 1, "x", 0.5, 0.9)]
    assert verdicts(rows) == [(None, "below_threshold"), (None, "duplicate")]


@pytest.mark.parametrize("missing", [None, math.nan])
def test_a_text_without_the_score_that_decides_is_unscored(missing: float | None) -> None:
    rows = [
        row("a", 0, "no itm", 0.9, missing),
        row("a", 1, "no clip", missing),
        row("a", 2, "both", -1.0),
        row("a", 3, "noise without clip", missing, 0.1),
        row("a", 4, "", missing, missing),
        row("b", 0, "neither", missing, missing),
        row("b", 1, "Neither", 0.9, 0.9),
    ]
    assert verdicts(rows) == [
        (None, "unscored"),
        (None, "unscored"),
        (1, "kept"),
        (None, "below_threshold"),
        (None, "empty"),
        (None, "unscored"),
        (None, "duplicate"),
    ]
    assert select(web_tables(rows)).counts["unscored"] == 3


def test_without_a_threshold_nobody_needs_a_probability() -> None:
    rows = [row("a", 0, "no itm", 0.9, None), row("a", 1, "no clip", None)]
    assert verdicts(rows, itm_threshold=None) == [(1, "kept"), (None, "unscored")]


def test_a_score_that_equals_the_threshold_passes_in_float32_too() -> None:
    assert verdicts([row("a", 0, "x", 0.5, 0.7)], itm_threshold=0.7) == [(1, "kept")]


def test_no_threshold_and_no_filter() -> None:
    rows = [row("a", 0, "x", 0.5, 0.0), row("a", 1, "y", 0.6, 0.0)]
    for filtered in (True, False):
        output = select(web_tables(rows, filtered=filtered), itm_threshold=None, k=1)
        assert output.table["reason"].to_pylist() == ["outranked", "kept"]


def test_human_captions_are_all_kept() -> None:
    rows = [row("a", 1, "x"), row("b", 2, "X"), row("b", 1, "x")]
    output = select({"captions": table([one | {"origin": "human"} for one in rows], CAPTIONS)})
    assert output.table["reason"].to_pylist() == ["human"] * 3
    assert output.table["rank"].to_pylist() == [1, 2, 1]
    assert output.table["kept"].to_pylist() == [True] * 3
    assert (output.counts["images"], output.counts["images_kept"], output.counts["kept"]) == (2, 2, 3)


def test_no_candidates() -> None:
    assert select(web_tables([])).table.num_rows == 0
    assert select({"captions": table([], CAPTIONS)}).table.num_rows == 0


SCHEMAS = {"similarities": SIMILARITIES, "matches": MATCHES}
ROWS = [row("a", 0, "x"), row("a", 1, "y"), row("b", 0, "z")]


@pytest.mark.parametrize("name", ["similarities", "matches"])
@pytest.mark.parametrize(
    "other",
    [ROWS[:2], [*ROWS, row("b", 1, "")], [*ROWS[:2], row("c", 0, "")], [*ROWS[:2], ROWS[1]], [*ROWS, ROWS[0]], []],
)
def test_other_candidates_are_refused(name: str, other: list[Row]) -> None:
    tables = web_tables(ROWS)
    tables[name] = table(other, SCHEMAS[name])
    with pytest.raises(ValueError, match="does not cover"):
        select(tables)


def test_a_candidate_listed_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        select(web_tables([*ROWS, ROWS[0]]))


@pytest.mark.parametrize("wrong", [{"k": 0}, {"itm_threshold": 1.5}, {"itm_threshold": -0.1}, {"K": 2}])
def test_recipes_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SelectRecipe(**wrong)


def expected(rows: list[Row], k: int, threshold: float | None) -> list[tuple[int | None, str]]:
    """The rules, one candidate after the other."""
    answer: dict[tuple[str, int], tuple[int | None, str]] = {}
    for key in {one["key"] for one in rows}:
        seen: set[str] = set()
        allowed = []
        for one in sorted((one for one in rows if one["key"] == key), key=lambda one: one["candidate"]):
            text = " ".join(one["caption"].split()).casefold()
            itm = np.float32(math.nan if one["itm_score"] is None else one["itm_score"])
            place = (key, one["candidate"])
            if not text:
                answer[place] = (None, "empty")
            elif text in seen:
                answer[place] = (None, "duplicate")
            elif threshold is not None and itm < np.float32(threshold):
                answer[place] = (None, "below_threshold")
            elif (
                one["clip_score"] is None or math.isnan(one["clip_score"]) or (threshold is not None and np.isnan(itm))
            ):
                answer[place] = (None, "unscored")
            else:
                allowed.append((-np.float32(one["clip_score"]), one["candidate"]))
            seen.add(text)
        for rank, (*_, candidate) in enumerate(sorted(allowed), start=1):
            answer[key, candidate] = (rank, "kept" if rank <= k else "outranked")
    return [answer[one["key"], one["candidate"]] for one in rows]


SCORES = st.none() | st.just(math.nan) | st.sampled_from([0.0, 0.3, 0.5, 0.7]) | st.floats(0, 1, width=32)
CANDIDATES = st.lists(
    st.builds(row, st.sampled_from("abc"), st.integers(0, 12), st.text("aB \u00a0", max_size=3), SCORES, SCORES),
    unique_by=lambda one: (one["key"], one["candidate"]),
    max_size=30,
)


@settings(deadline=None, max_examples=150)
@given(
    CANDIDATES, st.integers(1, 3), st.none() | st.sampled_from([0.0, 0.3, 0.7, 1.0]), st.randoms(use_true_random=False)
)
def test_the_rules_whatever_the_tables_order(rows: list[Row], k: int, threshold: float | None, random: Any) -> None:
    tables = web_tables(rows)
    for name in ("similarities", "matches"):
        shuffled = list(rows)
        random.shuffle(shuffled)
        tables[name] = table(shuffled, SCHEMAS[name])
    output = select(tables, k=k, itm_threshold=threshold)
    found = list(zip(output.table["rank"].to_pylist(), output.table["reason"].to_pylist(), strict=True))
    assert found == expected(rows, k, threshold)
    reasons = Counter(reason for _, reason in found)
    assert all(output.counts[reason] == count for reason, count in reasons.items())
    assert output.counts["images"] == len({one["key"] for one in rows})
    assert output.counts["images_kept"] == len(
        {one["key"] for one, (_, reason) in zip(rows, found, strict=True) if reason == "kept"}
    )
