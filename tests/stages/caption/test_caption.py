import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from committed import WRITER
from PIL import Image
from pydantic import ValidationError

from stages.caption.compute import Caption
from stages.caption.spec import SPEC, CaptionRecipe
from stages.contract import ModelRunOptions, Shard
from stages.errors import UserError
from stages.models.randomness import uniform_grid
from stages.tables import CAPTIONS


@pytest.fixture
def shard(make_shard: Callable[..., Shard], pictures: dict[str, Image.Image]) -> Shard:
    images = {"dead": None, **pictures}
    return make_shard(images, tar_order=sorted(images, reverse=True))


def captioned(folder: Path, shard: Shard, batch_size: int = 4, **recipe: Any) -> pa.Table:
    settings = CaptionRecipe(model=str(folder), **{"candidates": 3, "max_length": 10, "min_length": 2, **recipe})
    return Caption(settings, ModelRunOptions(batch_size=batch_size, device="cpu"))(shard).table


def test_the_table(captioner_folder: Path, shard: Shard, pictures: dict[str, Image.Image]) -> None:
    recipe = CaptionRecipe(model=str(captioner_folder), candidates=3)
    output = Caption(recipe, ModelRunOptions(batch_size=3, device="cpu"))(shard)
    assert output.table.schema == CAPTIONS
    assert output.counts == {"images": 7, "captions": 21, "failed": 0}
    rows = output.table.to_pylist()
    assert [(row["key"], row["candidate"]) for row in rows] == [(key, n) for key in pictures for n in range(1, 4)]
    for row in rows:
        assert (row["writer"], row["origin"]) == (WRITER, "synthetic")
        assert row["logprob"] < 0
        assert row["caption"] == row["caption"].strip() != ""
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


def test_an_image_that_cannot_be_looked_at_has_a_row_that_says_so(
    captioner_folder: Path, make_shard: Callable[..., Shard], pictures: dict[str, Image.Image]
) -> None:
    whole = captioned(captioner_folder, make_shard(pictures), batch_size=1).to_pylist()
    shard = make_shard(
        {"broken": b"\x89PNG", **pictures, "gone": pictures["web-0-0-0"]},
        tar_order=["broken", *pictures],
    )
    for batch_size in (1, 4):
        rows = captioned(captioner_folder, shard, batch_size).to_pylist()
        lost = [row for row in rows if row["key"] in ("broken", "gone")]
        assert [(row["key"], row["candidate"], row["origin"], row["caption"]) for row in lost] == [
            ("broken", 0, "synthetic", ""),
            ("gone", 0, "synthetic", ""),
        ]
        assert [row["error"].split(":")[0] for row in lost] == ["cannot be decoded", "not in its tar"]
        others = [row for row in rows if row not in lost]
        assert [row | {"logprob": 0} for row in others] == [row | {"logprob": 0} for row in whole]
        assert {row["error"] for row in others} == {None}


def spoil(stage: Caption) -> None:
    """Make the first image of a batch overflow, as an activation does in float16."""
    vision = stage._captioner._vision
    stage._captioner._vision = lambda pixels: vision(pixels).index_fill(0, torch.tensor([0]), torch.inf)  # type: ignore[assignment]


def with_candidates(folder: Path, **recipe: Any) -> Caption:
    settings = CaptionRecipe(model=str(folder), **{"candidates": 2, "max_length": 3, "min_length": 1, **recipe})
    return Caption(settings, ModelRunOptions(batch_size=100, device="cpu"))


@pytest.mark.parametrize("recipe", [{}, {"beams": 3}, {"beams": 1, "candidates": 1}, {"top_k": 4}, {"top_p": 1.0}])
def test_numbers_that_are_not_finite_give_no_captions(
    captioner_folder: Path, pictures: dict[str, Image.Image], recipe: dict[str, Any]
) -> None:
    stage = with_candidates(captioner_folder, **recipe)
    captioner = stage._captioner
    pixels = torch.stack([captioner.preprocess(image) for image in pictures.values()])
    numbers = uniform_grid(0, list(pictures), 1 if recipe.get("beams") == 1 else 2, 3)
    whole = captioner.caption(pixels, numbers)
    spoil(stage)
    first, *others = captioner.caption(pixels, numbers)
    assert first is None
    for found, expected in zip(others, whole[1:], strict=True):
        assert [caption.text for caption in found or ()] == [caption.text for caption in expected or ()]
        assert all(math.isfinite(caption.logprob) for caption in found or ())


def test_logits_that_are_not_finite_cost_their_image(
    captioner_folder: Path, make_shard: Callable[..., Shard], pictures: dict[str, Image.Image]
) -> None:
    few, many = (make_shard({f"{n}": pictures["web-0-0-0"] for n in range(images)}) for images in (3, 100))
    stage = with_candidates(captioner_folder)
    spoil(stage)
    output = stage(many)
    first, *others = output.table.to_pylist()
    assert (first["key"], first["candidate"], first["error"]) == ("0", 0, "not finite in float32")
    assert {(row["key"], row["error"]) for row in others} == {(f"{n}", None) for n in range(1, 100)}
    assert output.counts == {"images": 99, "captions": 198, "failed": 1}
    assert stage(few).counts == {"images": 2, "captions": 4, "failed": 1}
    stage._batch_size = 1
    with pytest.raises(UserError, match=r"^caption: 3 of 3 images' logits are not finite in float32; the weights of"):
        stage(few)


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
        {"max_length": 4},
        {"min_length": 21},
        {"temperature": 0.04},
        {"temperature": math.inf},
        {"repetition_penalty": math.nan},
        {"top_k": 1},
        {"beams": 10, "top_k": 5},
        {"beams": 10, "top_p": 0.5},
        {"beams": 10, "temperature": 0.5},
        {"seed": 2**63},
        {"x": 1},
    ],
)
def test_settings_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SPEC.recipe.model_validate({"model": "m", **wrong})
