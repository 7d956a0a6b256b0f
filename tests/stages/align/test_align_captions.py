"""What the second stage has left, as a captioner."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from learnable import COLOURS, draw

from stages.align.compute import Align
from stages.caption.compute import Caption
from stages.caption.spec import CaptionRecipe
from stages.contract import CorpusJob, ModelRunOptions
from stages.errors import UserError
from stages.models.blip2.folder import read_second_stage
from stages.models.families import load_language_model, load_tower
from stages.models.family import ModelName
from stages.models.language.model import Read
from stages.models.source import find_source
from stages.pictures import decode

CPU = torch.device("cpu")
PROMPT = "a photo of"


@pytest.fixture(scope="module")
def trained(corpus, make_recipe, run, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("aligned")
    recipe = make_recipe(steps=1, holdout=0, prompt=PROMPT)
    return Align(recipe, run)(CorpusJob(corpus, str(folder / "checkpoints"), folder)).sides["checkpoint"]


def test_greedy_captions_are_those_of_the_parts_that_were_trained(trained, make_recipe, make_shard):
    recipe = CaptionRecipe(model=str(trained), beams=1, candidates=1, max_length=6, min_length=0)
    images = {f"web-{colour}": draw(colour, "circle", "large", "white") for colour in COLOURS}
    shard = make_shard(images)
    output = Caption(recipe, ModelRunOptions(device="cpu"))(shard)
    said = dict(zip(output.table["key"].to_pylist(), output.table["caption"].to_pylist(), strict=True))
    assert said.keys() == images.keys()

    told = read_second_stage(find_source(str(trained), None, "x"))
    assert told.prompt == PROMPT
    tower, view = load_tower(ModelName("x", make_recipe().model), "float32", CPU)
    language = load_language_model(ModelName("x", make_recipe().llm), "float32", CPU)
    for key, pixels in zip(images, decoded(images, view.preprocess), strict=True):
        with torch.no_grad():
            soft = told.model(tower(pixels[None]))
        assert said[key] == greedy(language, soft, 6)


def decoded(images, preprocess) -> list[torch.Tensor]:
    return [preprocess(decode(content)) for content in images.values()]


def greedy(language, soft: torch.Tensor, most: int) -> str:
    """One token after the other, all of them read anew each time."""
    said: list[int] = []
    for _ in range(most):
        ids = torch.tensor([[*language.tokens(PROMPT), *said, 0]])
        with torch.no_grad():
            logits = language.logits(soft, Read(ids, torch.ones_like(ids, dtype=torch.bool), ids))
        said.append(int(logits[0, -1].argmax()))
        if said[-1] == language.end:
            break
    return language.text(said)


def test_a_frozen_model_that_is_gone_is_told(trained, tmp_path):
    told = json.loads((trained / "config.json").read_text())
    told["language_model"]["model"] = "/nowhere/at/all"
    (tmp_path / "config.json").write_text(json.dumps(told))
    (tmp_path / "model.safetensors").write_bytes((trained / "model.safetensors").read_bytes())
    recipe = CaptionRecipe(model=str(tmp_path))
    with pytest.raises(UserError, match=r"caption\.model: no folder '/nowhere/at/all' here"):
        Caption(recipe, ModelRunOptions(device="cpu"))


@pytest.mark.parametrize("broken", ["config", "weights"])
def test_a_folder_that_is_broken_is_told_in_one_line(broken, trained, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "capfilt-blip-2"}')
    content = (trained / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(content if broken == "config" else content[:999])
    with pytest.raises(
        UserError, match=r"caption\.model: .* cannot be loaded as a BLIP-2 of the second stage"
    ) as caught:
        Caption(CaptionRecipe(model=str(tmp_path)), ModelRunOptions(device="cpu"))
    assert "\n" not in str(caught.value)
