from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image
from pydantic import ValidationError

from stages.caption.compute import Caption
from stages.caption.spec import SPEC, CaptionRecipe
from stages.contract import ModelRunOptions, Shard
from stages.tables import CAPTIONS

TEXTS = {"web-0-0-0": " My Dog.jpg\n", "web-0-0-1": None, "web-0-0-2": "", "dead": "gone"}


@pytest.fixture
def shard(make_shard: Callable[..., Shard], pictures: dict[str, Image.Image]) -> Shard:
    images = {"dead": None, **pictures}
    return make_shard(images, TEXTS, tar_order=sorted(images, reverse=True))


def captioned(folder: Path, shard: Shard, batch_size: int = 4, **recipe: Any) -> pa.Table:
    settings = CaptionRecipe(model=str(folder), **{"candidates": 3, "max_length": 10, "min_length": 2, **recipe})
    return Caption(settings, ModelRunOptions(batch_size=batch_size, device="cpu"))(shard).table


def test_the_table(captioner_folder: Path, shard: Shard, pictures: dict[str, Image.Image]) -> None:
    recipe = CaptionRecipe(model=str(captioner_folder), candidates=3)
    output = Caption(recipe, ModelRunOptions(batch_size=3, device="cpu"))(shard)
    assert output.table.schema == CAPTIONS
    assert output.counts == {"images": 7, "captions": 28}
    rows = output.table.to_pylist()
    assert [(row["key"], row["candidate"]) for row in rows] == [(key, n) for key in pictures for n in range(4)]
    assert [row["origin"] for row in rows[:4]] == ["web", "synthetic", "synthetic", "synthetic"]
    assert [row["caption"] for row in rows if row["candidate"] == 0] == ["My Dog.jpg", *[""] * 6]
    for row in rows:
        assert (row["logprob"] is None) == (row["origin"] == "web")
        if row["origin"] == "synthetic":
            assert row["logprob"] < 0
            assert row["caption"] == row["caption"].strip()
            assert not row["caption"].startswith("a picture of")


def test_the_same_numbers_whatever_the_batch_or_the_run(captioner_folder: Path, shard: Shard) -> None:
    first = captioned(captioner_folder, shard, batch_size=1)
    for batch_size in (1, 4, 64):
        again = captioned(captioner_folder, shard, batch_size=batch_size)
        assert again.drop_columns("logprob") == first.drop_columns("logprob")
        assert again["logprob"].to_pylist() == pytest.approx(first["logprob"].to_pylist(), abs=1e-4)


def test_more_candidates_keep_the_first_ones(captioner_folder: Path, shard: Shard) -> None:
    few, many = (captioned(captioner_folder, shard, candidates=number).to_pylist() for number in (2, 4))
    assert [row["caption"] for row in few] == [row["caption"] for row in many if row["candidate"] <= 2]


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"top_p": 0.3},
        {"temperature": 2.0},
        {"top_k": 2},
        {"prompt": "the "},
        {"max_length": 4},
        {"beams": 4},
    ],
)
def test_the_recipe_changes_the_captions(captioner_folder: Path, shard: Shard, change: dict[str, Any]) -> None:
    assert captioned(captioner_folder, shard, **change)["caption"] != captioned(captioner_folder, shard)["caption"]


def test_a_shard_without_images(captioner_folder: Path, make_shard: Callable[..., Shard]) -> None:
    table = captioned(captioner_folder, make_shard({"dead": None}))
    assert table.schema == CAPTIONS
    assert table.num_rows == 0


def test_an_image_that_cannot_be_decoded_fails_the_shard(
    captioner_folder: Path, make_shard: Callable[..., Shard], pictures: dict[str, Image.Image]
) -> None:
    with pytest.raises(ValueError, match="image broken"):
        captioned(captioner_folder, make_shard({**pictures, "broken": b"\x89PNG"}))


@pytest.mark.parametrize(
    "wrong",
    [
        {"candidates": 3, "beams": 2},
        {"beams": 0},
        {"top_p": 0},
        {"top_p": 1.1},
        {"top_k": 0},
        {"temperature": 0},
        {"candidates": 0},
        {"max_length": 0},
        {"x": 1},
    ],
)
def test_settings_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SPEC.recipe.model_validate({"model": "m", **wrong})
