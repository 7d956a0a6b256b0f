"""Small recipes of the Q-Former's training."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stages.pretrain.spec import PretrainRecipe, PretrainRun

MakeRecipe = Callable[..., PretrainRecipe]


@pytest.fixture(scope="session")
def make_recipe(clip_folder) -> MakeRecipe:
    """Small recipes on the small tower."""

    def make(**changes: object) -> PretrainRecipe:
        values: dict[str, object] = {
            "model": str(clip_folder),
            "tokenizer": str(clip_folder),
            "queries": 4,
            "width": 32,
            "layers": 2,
            "heads": 4,
            "projection": 16,
            "max_text_tokens": 16,
            "steps": 8,
            "batch_size": 8,
            "lr": 2e-3,
            "augment": False,
            "holdout": 0.2,
        }
        values |= changes
        return PretrainRecipe.model_validate({"warmup": min(2, int(str(values["steps"]))), **values})

    return make


@pytest.fixture(scope="session")
def run() -> PretrainRun:
    return PretrainRun(device="cpu", threads=1, readers=1, checkpoint_every=3)
