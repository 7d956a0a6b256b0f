"""What the second stage begins with: first stages in the formats in which they are saved."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_models import save_blip2_itm

from stages.align.build import first_stage as read_first
from stages.align.build import load_frozen, make_model
from stages.align.compute import Align
from stages.contract import Output
from stages.errors import UserError
from stages.models.qformer.model import load_qformer
from stages.models.qformer.names import to_lavis


def weights(output: Output) -> dict[str, torch.Tensor]:
    return load_file(output.sides["checkpoint"] / "model.safetensors")


def test_a_first_stage_gives_its_queries_and_its_tower(make_recipe, make_job, run, first_stage):
    recipe = make_recipe(init=str(first_stage), model=None, steps=1, lr=1e-9, min_lr=0)
    before, own = load_qformer(first_stage / "model.safetensors").state_dict(), weights(Align(recipe, run)(make_job()))
    taken = {name.removeprefix("qformer.") for name in own if name.startswith("qformer.")}
    assert own.keys() - {f"qformer.{name}" for name in taken} == {
        "language_projection.weight",
        "language_projection.bias",
    }
    for name in taken:
        torch.testing.assert_close(own[f"qformer.{name}"], before[name], rtol=1e-5, atol=1e-7)
    left = {name.split(".")[0] for name in before.keys() - taken if ".text_feed_forward." not in name}
    heads = {"image_projection", "text_projection", "match_head", "temperature"}
    assert left == heads | {"words", "positions", "word_transform", "word_norm", "word_bias"}


def test_a_published_first_stage_gives_them_too(make_recipe, make_job, run, tmp_path):
    theirs = save_blip2_itm(tmp_path / "itm")
    recipe = make_recipe(init=str(tmp_path / "itm"), model=None, steps=1, lr=1e-9, min_lr=0)
    frozen = load_frozen(recipe, read_first(recipe), torch.device("cpu"))
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = theirs.vision_model.encoder(theirs.vision_model.embeddings(pixels)).last_hidden_state
    torch.testing.assert_close(frozen.tower(pixels), wanted, rtol=1e-4, atol=1e-4)
    own = weights(Align(recipe, run)(make_job()))
    torch.testing.assert_close(own["qformer.queries"], theirs.query_tokens.detach(), rtol=1e-5, atol=1e-7)
    norm = theirs.vision_model.post_layernorm.weight.detach()
    torch.testing.assert_close(own["qformer.vision_norm.weight"], norm, rtol=1e-5, atol=1e-7)


def save_lavis(first_stage: Path, path: Path) -> Path:
    state = load_qformer(first_stage / "model.safetensors").state_dict()
    torch.save({"model": to_lavis(state)}, path)
    return path


def test_a_file_of_lavis_gives_its_queries_and_not_its_tower(make_recipe, first_stage, tmp_path):
    path, device = save_lavis(first_stage, tmp_path / "checkpoint_9.pth"), torch.device("cpu")
    recipe = make_recipe(init=str(path), heads=2)
    found, own = read_first(recipe), read_first(make_recipe(init=str(first_stage)))
    assert found.config == own.config
    assert found.state.keys() == own.state.keys()
    for name, value in own.state.items():
        assert torch.equal(found.state[name], value), name
    with pytest.raises(UserError, match=r"align\.model: '.*9\.pth' does not say which image tower it was trained on"):
        load_frozen(make_recipe(init=str(path), model=None, heads=2), found, device)


def test_what_lacks_something_is_told(make_recipe, first_stage, tmp_path):
    state = torch.load(save_lavis(first_stage, tmp_path / "whole.pth"))["model"]
    for lacks in ("ln_vision", "layer.0.crossattention", "layer.1.output_query"):
        torch.save(
            {"model": {name: value for name, value in state.items() if lacks not in name}}, tmp_path / "less.pth"
        )
        with pytest.raises(UserError, match=r"align\.init: '.*' is a first stage that lacks \d+ weights, "):
            read_first(make_recipe(init=str(tmp_path / "less.pth"), heads=2))


def test_another_tower_than_that_of_the_first_stage_is_told(make_recipe, language_folders, first_stage):
    recipe = make_recipe(init=str(first_stage))
    language = load_frozen(recipe, None, torch.device("cpu")).language
    with pytest.raises(UserError, match=r"align\.model: the image tower's features are 20 wide, .* trained on 32"):
        make_model(recipe, read_first(recipe), 20, language)


def test_the_commit_of_a_hub_model_is_written_down(make_recipe, language_folders, tmp_path, monkeypatch):
    """Whatever its name stands for later on."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "models--someone--opt"
    shutil.copytree(language_folders["opt"], cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    frozen = load_frozen(make_recipe(llm="someone/opt"), None, torch.device("cpu"))
    assert (frozen.language_name.model, frozen.language_name.revision) == ("someone/opt", commit)
