"""Small recipes of the second stage, on small language models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from small_language import save_gpt2, save_opt, save_t5

from stages.align.spec import AlignRecipe, AlignRun
from stages.contract import CorpusJob
from stages.pretrain.compute import Pretrain
from stages.pretrain.spec import PretrainRecipe, PretrainRun

MakeRecipe = Callable[..., AlignRecipe]


@pytest.fixture(scope="session")
def language_folders(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("language")
    for name, save in (("opt", save_opt), ("gpt2", save_gpt2), ("t5", save_t5)):
        save(folder / name)
    return {name: folder / name for name in ("opt", "gpt2", "t5")}


@pytest.fixture(scope="session")
def make_recipe(clip_folder, language_folders) -> MakeRecipe:
    """From scratch, on the small tower; `llm` is the name of a small language model."""

    def make(**changes: object) -> AlignRecipe:
        values: dict[str, object] = {
            "model": str(clip_folder),
            "queries": 4,
            "width": 32,
            "layers": 2,
            "heads": 4,
            "steps": 8,
            "batch_size": 8,
            "lr": 2e-3,
            "min_lr": 1e-3,
            "augment": False,
            "holdout": 0.2,
            "llm": "opt",
        }
        values |= changes
        if "init" in values:
            values = {name: value for name, value in values.items() if name not in {"queries", "width", "layers"}}
        values["llm"] = str(language_folders.get(str(values["llm"]), values["llm"]))
        return AlignRecipe.model_validate({"warmup": min(2, int(str(values["steps"]))), **values})

    return make


@pytest.fixture(scope="session")
def run() -> AlignRun:
    return AlignRun(device="cpu", threads=1, readers=1, checkpoint_every=3)


@pytest.fixture(scope="session")
def first_stage(corpus, clip_folder, tmp_path_factory) -> Path:
    """The folder that a short `pretrain` has left."""
    folder = tmp_path_factory.mktemp("first")
    sizes = {"queries": 5, "width": 24, "layers": 3, "heads": 2, "projection": 8, "max_text_tokens": 16}
    recipe = PretrainRecipe.model_validate(
        {"model": str(clip_folder), "tokenizer": str(clip_folder), "steps": 1, "warmup": 1, "batch_size": 4}
        | {"holdout": 0, "augment": False}
        | sizes
    )
    run = PretrainRun(device="cpu", threads=1, readers=1)
    return Pretrain(recipe, run)(CorpusJob(corpus, str(folder / "checkpoints"), folder)).sides["checkpoint"]
