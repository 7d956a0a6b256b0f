from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from stages.contract import ModelRunOptions, Shard
from stages.errors import UserError
from stages.score.compute import Filter, Rank
from stages.score.spec import FilterRecipe, RankRecipe
from stages.tables import SIMILARITIES


@pytest.fixture
def rank(clip_folder: Path) -> Callable[..., Rank]:
    def make(batch_size: int = 3) -> Rank:
        return Rank(RankRecipe(model=str(clip_folder)), ModelRunOptions(batch_size=batch_size, device="cpu"))

    return make


def test_the_table(
    rank: Callable[..., Rank], make_shard: Callable[..., Shard], pictures: dict[str, Image.Image]
) -> None:
    captions = [(key, text) for key in pictures for text in ("Red dog", "a red dog", "", "a red dog", "the cat")]
    output = rank()(make_shard({**pictures, "dead": None}, captions=captions))
    assert output.table.schema == SIMILARITIES
    assert output.counts == {"scored": 28, "empty": 7, "failed": 0}
    rows = output.table.to_pylist()
    assert [(row["key"], row["candidate"]) for row in rows] == [(key, n) for key in pictures for n in range(5)]
    scores = [row["clip_score"] for row in rows]
    assert [score for score in scores[2::5] if score is not None] == []
    assert scores[1::5] == scores[3::5]
    assert all(-1 <= score <= 1 for score in scores if score is not None)
    assert len(set(scores[4::5])) == len(pictures)


def test_scores_do_not_depend_on_the_batch(
    rank: Callable[..., Rank], make_shard: Callable[..., Shard], pictures: dict[str, Image.Image]
) -> None:
    shard = make_shard(pictures, captions=[(key, text) for key in pictures for text in ("dog", f"cat {key}")])
    first, *others = (rank(size)(shard).table["clip_score"].to_pylist() for size in (1, 3, 64))
    for found in others:
        assert found == pytest.approx(first, abs=1e-5)


def test_a_shard_without_images(rank: Callable[..., Rank], make_shard: Callable[..., Shard]) -> None:
    output = rank()(make_shard({"dead": None}, captions=[]))
    assert output.table.schema == SIMILARITIES
    assert output.table.num_rows == 0


def test_a_matching_model_ranks_by_its_probability(
    itm_folder: Path, make_shard: Callable[..., Shard], pictures: dict[str, Image.Image]
) -> None:
    shard = make_shard(pictures, captions=[(key, text) for key in pictures for text in ("dog", "Cat!", "")])
    run = ModelRunOptions(batch_size=3, device="cpu")
    ranked = Rank(RankRecipe(model=str(itm_folder)), run)(shard).table
    filtered = Filter(FilterRecipe(model=str(itm_folder)), run)(shard).table
    assert ranked.schema == SIMILARITIES
    assert ranked["clip_score"].to_pylist() == filtered["itm_score"].to_pylist()
    assert ranked["clip_score"].null_count == len(pictures)


def test_a_cosine_is_no_filter(clip_folder: Path) -> None:
    with pytest.raises(UserError, match=r"^filter\.model: .* is a CLIP model of open_clip, whose cosine is no prob"):
        Filter(FilterRecipe(model=str(clip_folder)), ModelRunOptions(device="cpu"))
