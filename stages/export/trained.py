"""A trained Q-Former's image tower, to be written in another format, and compared with what is computed there."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from stages.export.job import TrainedModel
from stages.models import families
from stages.models.family import ModelName
from stages.models.vision.tower import View, VisionTower
from stages.words import first_line


def load_tower(trained: TrainedModel) -> tuple[VisionTower, View]:
    """Its image tower in float32, on the CPU.

    Raises:
        UserError: the tower is no longer where the recipe names it.
    """
    name = ModelName("pretrain.model", trained.model, trained.pretrained, trained.revision)
    return families.load_tower(name, "float32", torch.device("cpu"))


@torch.no_grad()
def check_features(
    tower: VisionTower,
    view: View,
    reader: Callable[[Tensor], Tensor],
    tolerance: float,
    norm: Callable[[Tensor], Tensor] = lambda features: features,
) -> None:
    """Compare the features of two images, one noisy and one plain, with those that a reader will compute.

    Args:
        tower: the tower.
        view: how it wants its images.
        reader: (batch, 3, height, width) to (batch, 1 + patches, width), as the program reads them.
        tolerance: how far they may differ, as a share of the largest.
        norm: what the reader puts behind the tower.

    Raises:
        ValueError: they differ, or the reader can compute none; the message says by how much.
    """
    pixels = torch.randn(2, 3, *view.size, generator=torch.Generator().manual_seed(0))
    pixels[1] = -1.0
    wanted = norm(tower(pixels))
    try:
        found = reader(pixels)
    except RuntimeError as error:
        raise ValueError(f"its tensors do not fit: {first_line(error)}") from None
    if found.shape != wanted.shape:
        raise ValueError(f"it has {wanted.shape[1]} tokens an image, the reader {found.shape[1]}")
    distance = float((found - wanted).abs().max() / wanted.abs().max())
    if not distance <= tolerance:
        raise ValueError(f"its features would be off by {distance:.1g} of the largest")
