"""What a selection rejects, keeps and loses, counted anew in Python."""

from __future__ import annotations

import random
import re
from collections import Counter
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from pipeline.sql.measures import MEASURES

WORDS = ["Dog", "cat", "über", "red", "3", "don't", "hund", "eis-bär"]
Row = dict[str, Any]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """Candidates of two sources, each judged by two selections, the second of which shows two steps' rows."""
    rng = random.Random(2)
    found = []
    for source in ("web", "more"):
        for image in range(30):
            for candidate in range(4):
                origin = "web" if candidate == 0 else "human" if image % 10 == 0 else "synthetic"
                text = " ".join(rng.choices(WORDS[: 4 + 4 * (candidate == 0)], k=rng.randint(0, 5)))
                for made_by in ("select", "select@2"):
                    reason = rng.choice(["kept", "below_threshold", "outranked", "unscored", "duplicate"])
                    reason = "human" if origin == "human" else reason if text else "empty"
                    row = {"key": f"{source}-{image}", "writer": "w", "candidate": candidate, "source": source}
                    row |= {"origin": origin, "caption": text, "made_by": made_by, "reason": reason}
                    found.append(row | {"kept": reason in {"kept", "human"}})
    return found


@pytest.fixture(scope="module")
def connection(rows) -> duckdb.DuckDBPyConnection:
    made = duckdb.connect()
    both = ["key", "writer", "candidate", "source", "made_by"]
    made.register("raw_select", pa.Table.from_pylist(rows).select([*both, "reason", "kept"]))
    of_captions = [{**row, "made_by": "caption"} for row in rows if row["made_by"] == "select"]
    made.register("raw_captions", pa.Table.from_pylist(of_captions).select([*both, "origin", "caption"]))
    named = [("select", "select", 0), ("select@1", "select@2", 1), ("select@2", "select@2", 2)]
    steps = [
        {"step": step, "made_by": made_by, "round": number, "source": source}
        for step, made_by, number in named
        for source in ("web", "more")
    ]
    made.register("steps", pa.Table.from_pylist(steps))
    return made


def of_steps(rows: list[Row]) -> dict[tuple[str, str], list[Row]]:
    shown = {"select": "select", "select@1": "select@2", "select@2": "select@2"}
    return {
        (step, source): [row for row in rows if (row["made_by"], row["source"]) == (made_by, source)]
        for step, made_by in shown.items()
        for source in ("web", "more")
    }


def test_noise_is_the_share_of_judged_texts_that_are_below_the_threshold(rows, connection):
    found = connection.sql(MEASURES["noise"]).to_arrow_table().to_pylist()
    assert len(found) == 3 * 2 * 2
    for row in found:
        own = [each for each in of_steps(rows)[row["step"], row["source"]] if each["origin"] == row["origin"]]
        reasons = Counter(each["reason"] for each in own)
        assert row["texts"] == len(own) - reasons["empty"]
        assert (row["rejected"], row["kept"]) == (reasons["below_threshold"], reasons["kept"])
        assert row["judged"] == row["rejected"] + row["kept"] + reasons["outranked"]
        assert row["noise_ratio"] == pytest.approx(row["rejected"] / row["judged"])


def test_diversity_is_what_python_counts(rows, connection):
    found = connection.sql(MEASURES["diversity"]).to_arrow_table().to_pylist()
    numbers = {"select": 0, "select@1": 1, "select@2": 2}
    assert {(row["step"], row["source"]) for row in found} == {(step, s) for step in numbers for s in ("web", "more")}
    assert {row["step"]: row["round"] for row in found} == numbers
    for row in found:
        own = of_steps(rows)[row["step"], row["source"]]
        kept = [each for each in own if each["kept"]]
        said = [each["caption"] for each in kept]
        split = [re.findall(r"\w+", text.lower()) for text in said]
        counts = [
            Counter(tuple(words[at : at + n]) for words in split for at in range(len(words) - n + 1)) for n in (1, 2, 3)
        ]
        web = {word for each in own if each["origin"] == "web" for word in re.findall(r"\w+", each["caption"].lower())}
        assert row["images"] == len({each["key"] for each in kept})
        assert (row["kept_captions"], row["distinct_captions"]) == (len(said), len(set(said)))
        assert [row[f"distinct_{name}"] for name in ("words", "bigrams", "trigrams")] == list(map(len, counts))
        assert [row[f"distinct_{n}"] for n in (1, 2, 3)] == pytest.approx([len(c) / c.total() for c in counts])
        assert row["web_words"] == len(web)
        assert row["web_words_kept"] == pytest.approx(sum((word,) in counts[0] for word in web) / len(web))
    assert len({row["web_words_kept"] for row in found}) > 1
