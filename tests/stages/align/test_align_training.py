"""The second stage as a stage: what it leaves, that it learns, that it resumes, and what it leaves alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from learnable import COLOURS, GROUNDS, SHAPES
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy

from stages.align.build import load_frozen, make_model
from stages.align.compute import Align
from stages.align.spec import AlignRecipe
from stages.align.texts import split
from stages.contract import CorpusJob, Output
from stages.errors import UserError
from stages.models.families import load_language_model
from stages.models.family import ModelName
from stages.training.checkpoints import Checkpoints
from stages.training.task import Row


class Killed(BaseException):
    """What no `except Exception` holds up."""


def kill_at(step: int) -> Callable[[Row], None]:
    def on_step(row: Row) -> None:
        if row["step"] == step:
            raise Killed

    return on_step


def course(output: Output, measure: str) -> list[float]:
    return [row["value"] for row in output.table.to_pylist() if row["measure"] == measure]


def weights(output: Output) -> dict[str, torch.Tensor]:
    return load_file(output.sides["checkpoint"] / "model.safetensors")


def assert_equal(one: Output, other: Output) -> None:
    for measure in ("loss", "grad_norm", "holdout_lm"):
        assert course(one, measure) == course(other, measure)
    assert weights(one).keys() == weights(other).keys()
    for name, value in weights(one).items():
        assert torch.equal(value, weights(other)[name]), name


@pytest.mark.parametrize(
    "changes",
    [
        {"llm": "t5", "evaluate_every": 2},
        pytest.param({"llm": "opt", "augment": True, "prompt": "a photo of"}, marks=pytest.mark.slow),
        pytest.param({"llm": "gpt2", "accumulate": 2, "llm_dtype": "bfloat16"}, marks=pytest.mark.slow),
    ],
)
def test_a_killed_training_goes_on_as_if_nothing_had_happened(make_recipe, make_job, run, changes):
    recipe = make_recipe(steps=5, **changes)
    whole = Align(recipe, run)(make_job())
    job = make_job()
    for step in (2, 4, 5):  # before the first checkpoint, after it, and after the last step but before the result
        with pytest.raises(Killed):
            Align(recipe, run).train(job, on_step=kill_at(step))
    assert_equal(Align(recipe, run)(job), whole)


def digests(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_frozen_models_stay_as_they_are_and_are_not_in_what_is_left(make_recipe, make_job, run, monkeypatch):
    loaded = []
    monkeypatch.setattr(
        "stages.align.compute.load_frozen", lambda *given: loaded.append(load_frozen(*given)) or loaded[-1]
    )
    recipe, job = make_recipe(steps=3), make_job()
    fresh = load_frozen(recipe, None, torch.device("cpu"))
    output = Align(recipe, run)(job)
    (used,) = loaded
    for one, other in ((used.tower, fresh.tower), (used.language._model, fresh.language._model)):
        assert not one.training
        for name, value in one.state_dict().items():
            assert torch.equal(value, other.state_dict()[name]), name
        assert not any(parameter.requires_grad for parameter in one.parameters())
        assert all(parameter.grad is None for parameter in one.parameters())
    model = make_model(recipe, None, 32, fresh.language)
    assert weights(output).keys() == model.state_dict().keys()
    _, state = Checkpoints(job.checkpoints, keep=1).newest()
    assert state["model"].keys() == {f"model.{name}" for name in model.state_dict()}
    assert sorted(path.name for path in output.sides["checkpoint"].iterdir()) == ["config.json", "model.safetensors"]
    told = json.loads((output.sides["checkpoint"] / "config.json").read_text())
    assert told["language_model"] == {"model": recipe.llm, "pretrained": None, "revision": None}
    assert told["tower"]["model"] == recipe.model


@pytest.mark.slow
@pytest.mark.parametrize("llm", ["opt", "t5"])
def test_it_learns_to_say_what_an_image_shows(llm, corpus, make_recipe, run, language_folders, tmp_path):
    speaks = teach(language_folders[llm], tmp_path / "llm")
    recipe = make_recipe(llm=str(speaks), steps=300, batch_size=16, warmup=20, lr=5e-3, dropout=0.0, width=48)
    learnt = Align(recipe, run)(CorpusJob(corpus, str(tmp_path / "checkpoints"), tmp_path))
    told = course(learnt, "loss")
    assert sum(told[-10:]) < 0.8 * sum(told[:10])
    (own,), (other,) = (course(learnt, f"holdout_{name}") for name in ("lm", "lm_of_another_image"))
    assert own < 0.8 * other


def teach(folder: Path, target: Path) -> Path:
    """A copy of a small language model that has learnt, from text alone, to say a caption that fits the words before.

    So what stands before a caption means something to it, as to a large one.
    """
    shutil.copytree(folder, target)
    language: Any = load_language_model(ModelName("align.llm", str(folder)), "float32", torch.device("cpu"))
    scenes = list(product(("small", "large"), COLOURS, SHAPES, GROUNDS))
    model, tokenizer = language._model.requires_grad_(), language._tokenizer
    words = torch.tensor(
        [[tokenizer(f" {word}", add_special_tokens=False)["input_ids"][-1] for word in scene] for scene in scenes]
    )
    optimiser, generator = torch.optim.AdamW(model.parameters(), lr=5e-3), torch.Generator().manual_seed(1)
    for step in range(300):
        captions = [f"a {size} {colour} {shape} on {ground}" for size, colour, shape, ground in scenes]
        given, said = zip(
            *(split(caption, step) if language.divides else ("", caption) for caption in captions), strict=True
        )
        read = language.read(given, said, 32)
        soft = model.get_input_embeddings()(words[:, torch.randperm(4, generator=generator)])
        loss = cross_entropy(language.logits(soft, read).flatten(0, 1), read.labels.flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.save_pretrained(target)
    return target


@pytest.mark.slow
def test_half_precision_learns_alike(make_recipe, make_job, run):
    changes = ({}, {"dtype": "bfloat16", "llm_dtype": "bfloat16"})
    full, half = (course(Align(make_recipe(steps=3, **more), run)(make_job()), "loss") for more in changes)
    assert half == pytest.approx(full, rel=0.05)
    assert half != full


def test_weights_and_rates_are_moved_as_published(make_recipe, make_job, run):
    found = Align(make_recipe(steps=4, warmup=2), run)(make_job())
    assert course(found, "lr") == pytest.approx([1e-3, 2e-3, 1.5e-3, 1e-3])
    defaults = AlignRecipe.model_validate({"model": "x", "llm": "y"})
    assert (defaults.steps, defaults.batch_size, defaults.lr, defaults.min_lr) == (80_000, 1920, 1e-4, 5e-5)
    assert (defaults.betas, defaults.weight_decay, defaults.warmup) == ((0.9, 0.98), 0.05, 2000)


def test_a_text_is_divided_before_its_middle():
    assert split("cat", 7) == ("", "cat")
    assert split("two dogs", 7) == ("two", "dogs")
    assert split("one red cat", 7) == ("one", "red cat")
    words = "a b c d e f g h i"
    drawn = [len(split(words, number)[0].split()) for number in range(4000)]
    assert {count: drawn.count(count) for count in set(drawn)} == dict.fromkeys(range(1, 5), 1000)
    assert all(" ".join(split(words, number)) == words for number in range(9))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"llm": "./nowhere/at/all"}, r"align\.llm: no folder"),
        ({"init": "clip"}, r"align\.init: .* not a checkpoint that a Q-Former can begin with"),
        ({"max_text_tokens": 61}, r"align\.max_text_tokens: 61 tokens behind 4 queries are more than the 64 positions"),
        ({"prompt": "a b c d e f g h", "max_text_tokens": 8}, r"align\.prompt: its \d+ tokens leave none"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(changes, told, make_recipe, make_job, run, clip_folder):
    if changes.get("init") == "clip":
        changes = {"init": str(clip_folder)}
    with pytest.raises(UserError, match=told) as caught:
        Align(make_recipe(**changes), run)(make_job())
    assert "\n" not in str(caught.value)


def test_a_recipe_that_contradicts_itself_is_refused():
    for values, told in (
        ({"llm": "x"}, "model has to say whose image tower is read"),
        ({"llm": "x", "init": "y", "queries": 4}, "init has sizes of its own, beside which queries mean nothing"),
        ({"llm": "x", "init": "y", "pretrained": "z"}, "say more of `model`, which is not set"),
        ({"llm": "x", "model": "y", "llm_dtype": "float16"}, "llm_dtype"),
    ):
        with pytest.raises(ValueError, match=told):
            AlignRecipe.model_validate(values)
