"""The image tower of a model of open_clip, without what follows it."""

from __future__ import annotations

import torch

from stages.contract import Dtype
from stages.models.clip.loading import open_model
from stages.models.device import torch_dtype
from stages.models.family import ModelName
from stages.models.middle import safe
from stages.models.vision.tower import View, VisionTower, check_transformer


def load_tower(name: ModelName, dtype: Dtype, device: torch.device) -> tuple[VisionTower, View]:
    """Load the image tower of a model of open_clip.

    Raises:
        UserError: there is no such model, it is broken, or its tower is no transformer.
    """
    opened = open_model(name, dtype, device)
    visual = opened.model.visual
    check_transformer(name, visual)
    wanted = visual.preprocess_cfg
    view = View(safe(opened.transform, wanted), opened.size, tuple(wanted["mean"]), tuple(wanted["std"]))
    return VisionTower(visual, torch_dtype(dtype)), view
