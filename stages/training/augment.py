"""Random crops and mirror images, drawn per image and epoch: BLIP-2's augmentation."""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from stages.models.vision.tower import View
from stages.training.order import mix

AREAS = (0.5, 1.0)
"""The crop's share of the image, as in LAVIS's configuration for COCO."""
ASPECTS = (3 / 4, 4 / 3)
TRIES = 10


def augmented(image: Image.Image, view: View, *words: str | int) -> Tensor:
    """A crop of an RGB image, mirrored every other time, as the tower wants it.

    Args:
        image: RGB.
        view: the tower's size and normalisation.
        words: what the choice belongs to: the seed, the epoch, the image's key.

    Returns:
        (3, height, width), float32.
    """
    rng = np.random.default_rng(mix("augment", *words))
    height, width = view.size
    cut = image.resize((width, height), Image.Resampling.BICUBIC, box=crop(image.width, image.height, rng))
    if rng.random() < 0.5:
        cut = ImageOps.mirror(cut)
    pixels = torch.from_numpy(np.array(cut)).permute(2, 0, 1).float() / 255
    return (pixels - torch.tensor(view.mean)[:, None, None]) / torch.tensor(view.std)[:, None, None]


def crop(width: int, height: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """A random part of an image: (left, top, right, bottom) in pixels. The whole image if none of ten fits into it."""
    for _ in range(TRIES):
        area = width * height * rng.uniform(*AREAS)
        aspect = math.exp(rng.uniform(math.log(ASPECTS[0]), math.log(ASPECTS[1])))
        across, along = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < across <= width and 0 < along <= height:
            left, top = int(rng.integers(width - across + 1)), int(rng.integers(height - along + 1))
            return left, top, left + across, top + along
    return 0, 0, width, height
