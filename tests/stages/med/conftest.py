"""Small recipes of BLIP's pretraining."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stages.med.spec import MedRecipe, MedRun

MakeRecipe = Callable[..., MedRecipe]


@pytest.fixture(scope="session")
def make_recipe(clip_folder) -> MakeRecipe:
    """A BLIP of two layers that is drawn."""

    def make(**changes: object) -> MedRecipe:
        values: dict[str, object] = {
            "tokenizer": str(clip_folder),
            "image_size": 32,
            "patch": 8,
            "vision_width": 32,
            "vision_layers": 2,
            "vision_heads": 4,
            "width": 32,
            "layers": 2,
            "heads": 4,
            "projection": 16,
            "queue": 64,
            "batch_size": 8,
            "epochs": 1,
            "warmup": 2,
            "lr": 2e-3,
            "max_text_tokens": 16,
            "augment": "none",
            "holdout": 0.2,
        }
        return MedRecipe.model_validate(values | changes)

    return make


@pytest.fixture(scope="session")
def run() -> MedRun:
    return MedRun(device="cpu", threads=1, readers=1, checkpoint_every=3)
