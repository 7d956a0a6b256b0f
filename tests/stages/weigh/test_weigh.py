"""Weights of the tables of a corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from committed import write

from stages.contract import CorpusJob, CorpusShard, RunOptions, Wired
from stages.errors import UserError
from stages.io.shards import Artifact
from stages.metrics.roc import roc_auc
from stages.tables import CAPTIONS, MATCHES, WEIGHTS
from stages.weigh.compute import Weigh
from stages.weigh.fit import fit
from stages.weigh.spec import WeighRecipe, check
from stages.weights import log_odds

Row = dict[str, Any]
ORIGINS = {"annotate": "human", "shuffle": "shuffled", "caption": "synthetic"}


def make_rows(images: int, seed: int = 0) -> list[Row]:
    """Two own texts, one of another image and a written one for each; the first filter is better than the second."""
    random, rows = np.random.default_rng(seed), []
    for image in range(images):
        for writer, candidate in (("annotate", 1), ("annotate", 2), ("shuffle", 0), ("caption", 1)):
            own = 1 if writer == "annotate" else -1
            scores = [1 / (1 + np.exp(-random.normal(own * shift, 2))) for shift in (2.0, 0.7)]
            key = {"key": f"people-{image:04d}", "writer": writer, "candidate": candidate}
            rows.append(key | {"origin": ORIGINS[writer], "caption": "x", "scores": scores})
    return rows


def shard(folder: Path, name: str, rows: list[Row], filters: int = 2) -> CorpusShard:
    """The tables of some rows; those of the filters in an order of their own."""

    def of_writer(writer: str) -> Artifact:
        return write(folder / f"{name}-{writer}", [row for row in rows if row["writer"] == writer], CAPTIONS)

    captions = tuple(of_writer(writer) for writer in dict.fromkeys(row["writer"] for row in rows))
    matches = tuple(
        write(folder / f"{name}-f{place}", [row | {"itm_score": row["scores"][place]} for row in rows[::-1]], MATCHES)
        for place in range(filters)
    )
    return CorpusShard({"captions": captions} | ({"matches": matches} if filters else {}), "people", name)


def job(folder: Path, *shards: CorpusShard) -> CorpusJob:
    return CorpusJob(shards, "", folder)


def test_the_weights_are_fitted_on_one_half_of_the_images_and_measured_on_the_other(tmp_path: Path) -> None:
    rows = make_rows(600)
    rows[0]["scores"][1] = None  # a text that one filter could not score counts for none
    shards = [shard(tmp_path, "one", rows[:900]), shard(tmp_path, "two", rows[900:])]
    judged_by_none = shard(tmp_path, "pairs", make_rows(3), filters=0)
    output = Weigh(WeighRecipe(), RunOptions())(job(tmp_path, *shards, judged_by_none))
    assert output.table.schema == WEIGHTS
    found = output.table.to_pydict()
    assert found["filter"] == [0, 1, 2]
    used = [row for row in rows if row["origin"] in {"human", "shuffled"} and None not in row["scores"]]
    assert output.counts["texts"] == len(used) == 1799
    own = {row["held_out_texts"] + row["own_texts"] + row["shuffled_texts"] for row in output.table.to_pylist()}
    assert own == {len(used)}
    assert 0.4 < found["held_out_texts"][0] / len(used) < 0.6
    assert found["weight"] == pytest.approx([np.log(1.0), 1.0, 0.35], abs=0.25)  # of normal odds: 2 * shift / variance
    assert found["auc"][0] > found["auc"][1] > found["auc"][2] > 0.5


def test_they_are_what_the_arrays_give_and_hang_on_no_order_of_shards(tmp_path: Path) -> None:
    from stages.training.order import mix

    rows = make_rows(80, seed=3)
    used = [row for row in rows if row["origin"] != "synthetic"]
    odds = log_odds([np.array([row["scores"][place] for row in used], np.float32) for place in (0, 1)])
    own = np.array([row["origin"] == "human" for row in used])
    held_out = np.array([mix("weigh", row["key"]) % 2 == 0 for row in used])
    weights = fit(odds[~held_out], own[~held_out])
    cut = [shard(tmp_path, "one", rows[:100]), shard(tmp_path, "two", rows[100:])]
    for shards in (cut, cut[::-1]):
        table = Weigh(WeighRecipe(), RunOptions())(job(tmp_path, *shards)).table
        assert table["weight"].to_pylist() == pytest.approx(weights, abs=1e-7)
        areas = [roc_auc(column[held_out], own[held_out]) for column in (odds @ weights[1:], *odds.T)]
        assert table["auc"].to_pylist() == pytest.approx(areas)


def test_without_texts_of_both_sorts_it_says_what_is_missing(tmp_path: Path) -> None:
    rows = [row for row in make_rows(40) if row["origin"] != "shuffled"]
    for shards in ([shard(tmp_path, "one", rows)], []):
        with pytest.raises(UserError, match=r"weigh: the filters scored \d+ own and 0 shuffled texts .* add human"):
            Weigh(WeighRecipe(), RunOptions())(job(tmp_path, *shards))


CAPTIONED = {"annotate": "annotate", "others": "shuffle"}


@pytest.mark.parametrize(
    ("reads", "told"),
    [
        ({"a": {"captions": CAPTIONED, "matches": {"filter": "filter"}}, "b": {"captions": CAPTIONED}}, []),
        ({"a": {"captions": CAPTIONED}}, ["set 'pairs: true' in it"]),
        (
            {"a": {"captions": {"annotate": "annotate"}, "matches": {"filter": "filter"}}},
            ["add 'shuffle: {}' above the first 'filter'"],
        ),
        (
            {
                "a": {"captions": CAPTIONED, "matches": {"filter": "filter", "second": "filter"}},
                "b": {"captions": CAPTIONED, "matches": {"filter": "filter"}},
            },
            ["'second' judges no text of 'b', as other filters do; set 'pairs: true' in 'second'"],
        ),
    ],
)
def test_what_is_said_before_anything_runs(reads: dict[str, Any], told: list[str]) -> None:
    found = [words for _, words in check(WeighRecipe(), {name: Wired("pairs", roles) for name, roles in reads.items()})]
    assert len(found) == len(told)
    assert all(part in words for part, words in zip(told, found, strict=True))
