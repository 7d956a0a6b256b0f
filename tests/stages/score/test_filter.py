from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from stages.contract import ModelRunOptions, Shard
from stages.score.compute import Filter
from stages.score.spec import FilterRecipe
from stages.tables import MATCHES


@pytest.fixture
def judge(itm_folder: Path) -> Callable[..., Filter]:
    def make(batch_size: int = 3) -> Filter:
        return Filter(FilterRecipe(model=str(itm_folder)), ModelRunOptions(batch_size=batch_size, device="cpu"))

    return make


def test_the_table(
    judge: Callable[..., Filter], make_shard: Callable[..., Shard], pictures: dict[str, Image.Image]
) -> None:
    captions = [(key, text) for key in pictures for text in ("Red dog!", "red dog", "", "...", "the cat")]
    output = judge()(make_shard({**pictures, "dead": None}, captions=captions))
    assert output.table.schema == MATCHES
    assert output.counts == {"scored": 28, "empty": 7, "failed": 0}
    rows = output.table.to_pylist()
    assert [(row["key"], row["candidate"]) for row in rows] == [(key, n) for key in pictures for n in range(5)]
    scores = [row["itm_score"] for row in rows]
    assert scores[0::5] == scores[1::5]  # the same text once it is cleaned
    assert scores[2::5] == [None] * len(pictures)
    assert all(0 <= score <= 1 for score in scores if score is not None)
    assert None not in scores[3::5]  # a text without a word is still a text
    assert len(set(scores[4::5])) == len(pictures)


def test_scores_do_not_depend_on_the_batch(
    judge: Callable[..., Filter], make_shard: Callable[..., Shard], pictures: dict[str, Image.Image]
) -> None:
    shard = make_shard(pictures, captions=[(key, text) for key in pictures for text in ("dog", f"cat {key}")])
    first, *others = (judge(size)(shard).table["itm_score"].to_pylist() for size in (1, 3, 64))
    for found in others:
        assert found == pytest.approx(first, abs=1e-5)


def test_a_shard_without_images(judge: Callable[..., Filter], make_shard: Callable[..., Shard]) -> None:
    output = judge()(make_shard({"dead": None}, captions=[]))
    assert output.table.schema == MATCHES
    assert output.table.num_rows == 0
