"""What an export is given. It needs no torch, so a driver can make it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stages.errors import UserError


class NoPlaceError(UserError):
    """A program has no place for a part of the model, or would compute something else with it."""


@dataclass(frozen=True)
class TrainedModel:
    """A trained Q-Former, and the recipe's names of what belongs to it."""

    weights: str
    """fsspec URL of its safetensors file."""
    model: str
    """The CLIP whose image tower it reads, as `pretrain.model` has it."""
    pretrained: str | None
    revision: str | None
    tokenizer: str
    tokenizer_revision: str | None


@dataclass(frozen=True)
class TrainedFolder:
    """A trained model that is a folder of its own."""

    folder: str
    """fsspec URL."""


def shown(trained: TrainedModel) -> str:
    """What a reader elsewhere may know of the tower: its name, of a local folder the last part."""
    name = trained.model.rstrip("/").rsplit("/", 1)[-1] if Path(trained.model).is_absolute() else trained.model
    return f"{name} ({trained.pretrained})" if trained.pretrained else name
