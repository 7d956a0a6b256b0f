"""A trained Q-Former and its image tower, loaded to be written in another format."""

from __future__ import annotations

import tempfile
from pathlib import Path

import fsspec
import torch

from stages.export.job import TrainedModel
from stages.models.clip_loading import ClipName
from stages.models.qformer import QFormer, load_qformer
from stages.models.vision_tower import View, VisionTower, load_vision_tower


def load_trained(trained: TrainedModel) -> QFormer:
    """The Q-Former, on the CPU."""
    filesystem, path = fsspec.core.url_to_fs(trained.weights)
    with tempfile.TemporaryDirectory(prefix="capfilt-") as folder:
        local = Path(folder) / "qformer.safetensors"
        filesystem.get_file(path, str(local))
        return load_qformer(local)


def load_tower(trained: TrainedModel) -> tuple[VisionTower, View]:
    """Its image tower in float32, on the CPU.

    Raises:
        UserError: the tower is no longer where the recipe names it.
    """
    name = ClipName("pretrain.model", trained.model, trained.pretrained, trained.revision)
    return load_vision_tower(name, "float32", torch.device("cpu"))
