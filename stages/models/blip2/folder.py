"""The folder that `align` leaves: what was trained, and the frozen models on either side of it, by name.

Their weights are not in it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
from safetensors import safe_open

from stages.models.blip2.kind import SECOND_STAGE
from stages.models.blip2.second_stage import SecondStage
from stages.models.family import CONFIG_FILE, ModelName
from stages.models.qformer.folder import named, told_of
from stages.models.qformer.model import QFormerConfig, config_metadata
from stages.models.source import Source
from stages.tables import WEIGHTS_FILE

PROJECTION = "language_projection.weight"


@dataclass(frozen=True)
class Trained:
    """What such a folder holds."""

    model: SecondStage
    """On the CPU, in evaluation mode."""
    tower: ModelName
    language: ModelName
    prompt: str
    """What stood before every caption."""


def write_second_stage(model: SecondStage, tower: ModelName, language: ModelName, prompt: str, folder: Path) -> None:
    """Write what was trained.

    Args:
        model: that.
        tower: the frozen image tower.
        language: the frozen language model.
        prompt: what stood before every caption.
        folder: an empty local folder.
    """
    tensors = {name: value.contiguous().cpu() for name, value in model.state_dict().items()}
    safetensors.torch.save_file(tensors, folder / WEIGHTS_FILE, config_metadata(model.qformer.config))
    told = {
        "model_type": SECOND_STAGE,
        "tower": told_of(tower),
        "language_model": told_of(language),
        "prompt": prompt,
    }
    (folder / CONFIG_FILE).write_text(json.dumps(told, indent=2), encoding="utf-8")


def read_second_stage(source: Source) -> Trained:
    """Read a folder.

    Raises:
        OSError, KeyError, RuntimeError, SafetensorError: it is broken.
    """
    config = source.config(CONFIG_FILE) or {}
    with safe_open(Path(source.location) / WEIGHTS_FILE, framework="pt") as file:
        sizes = QFormerConfig(**json.loads(file.metadata()["config"]))
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    model = SecondStage(sizes, len(state[PROJECTION]))
    model.load_state_dict(state)
    tower, language = (named(config[part], source.key) for part in ("tower", "language_model"))
    return Trained(model.eval(), tower, language, config["prompt"])
