"""The folder that `pretrain` leaves: the Q-Former's weights, and what it was trained with, by name.

The frozen tower's weights are not in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch

from stages.models.family import CONFIG_FILE, ModelName
from stages.models.qformer.kind import MODEL_TYPE
from stages.models.qformer.model import QFormer, config_metadata
from stages.tables import WEIGHTS_FILE


def write_qformer(model: QFormer, tower: ModelName, tokenizer: ModelName, folder: Path) -> None:
    """Write a trained Q-Former.

    Args:
        model: what was trained.
        tower: the frozen image tower that it reads.
        tokenizer: the texts' tokenizer.
        folder: an empty local folder.
    """
    tensors = {name: value.contiguous().cpu() for name, value in model.state_dict().items()}
    safetensors.torch.save_file(tensors, folder / WEIGHTS_FILE, config_metadata(model.config))
    told = {"model_type": MODEL_TYPE, "tower": told_of(tower), "tokenizer": told_of(tokenizer)}
    (folder / CONFIG_FILE).write_text(json.dumps(told, indent=2), encoding="utf-8")


def told_of(name: ModelName) -> dict[str, str | None]:
    """What a configuration file says of a frozen part."""
    return {"model": name.model, "pretrained": name.pretrained, "revision": name.revision}


def named(told: Mapping[str, Any], key: str) -> ModelName:
    """The part that it says so of.

    Args:
        told: as `told_of` gives it.
        key: what to call it in messages.
    """
    return ModelName(key, told["model"], told.get("pretrained"), told.get("revision"))
