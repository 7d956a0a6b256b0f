"""A trained Q-Former and its image tower, loaded to be written in another format."""

from __future__ import annotations

import torch

from stages.export.job import TrainedModel
from stages.models.clip_loading import ClipName
from stages.models.vision_tower import View, VisionTower, load_vision_tower


def load_tower(trained: TrainedModel) -> tuple[VisionTower, View]:
    """Its image tower in float32, on the CPU.

    Raises:
        UserError: the tower is no longer where the recipe names it.
    """
    name = ClipName("pretrain.model", trained.model, trained.pretrained, trained.revision)
    return load_vision_tower(name, "float32", torch.device("cpu"))
