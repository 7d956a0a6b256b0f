"""Random crops, mirror images and RandAugment, drawn per image and epoch: BLIP's and BLIP-2's augmentation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from stages.models.vision.tower import View
from stages.training.order import mix
from stages.training.randaugment import randaugment
from stages.training.reading import Prepare

AREAS = (0.5, 1.0)
"""The crop's share of the image, as in LAVIS's configuration for COCO and in BLIP's fine-tuning."""
WIDE_AREAS = (0.2, 1.0)
"""The same in BLIP's pretraining."""
ASPECTS = (3 / 4, 4 / 3)
TRIES = 10


@dataclass(frozen=True)
class Augmentation:
    """How images are changed before they are learnt from."""

    areas: tuple[float, float] = AREAS
    randaugment: bool = False


def as_evaluated(view: View) -> Prepare:
    """The image as a whole, the same in every epoch."""
    return lambda _example, image, _epoch: view.preprocess(image)


def as_augmented(view: View, seed: int, how: Augmentation) -> Prepare:
    """Another crop in every epoch."""
    return lambda example, image, epoch: augmented(image, view, how, seed, epoch, example.key)


def augmented(image: Image.Image, view: View, how: Augmentation, *words: str | int) -> Tensor:
    """A crop of an RGB image, mirrored every other time, as the tower wants it.

    Args:
        image: RGB.
        view: the tower's size and normalisation.
        how: how much is changed.
        words: what the choice belongs to: the seed, the epoch, the image's key.

    Returns:
        (3, height, width), float32.
    """
    rng = np.random.default_rng(mix("augment", *words))
    height, width = view.size
    box = crop(image.width, image.height, rng, how.areas)
    cut = image.resize((width, height), Image.Resampling.BICUBIC, box=box)
    if rng.random() < 0.5:
        cut = ImageOps.mirror(cut)
    colours = randaugment(np.array(cut), rng) if how.randaugment else np.array(cut)
    pixels = torch.from_numpy(colours).permute(2, 0, 1).float() / 255
    return (pixels - torch.tensor(view.mean)[:, None, None]) / torch.tensor(view.std)[:, None, None]


def crop(
    width: int, height: int, rng: np.random.Generator, areas: tuple[float, float] = AREAS
) -> tuple[int, int, int, int]:
    """A random part of an image: (left, top, right, bottom) in pixels. The whole image if none of ten fits into it."""
    for _ in range(TRIES):
        area = width * height * rng.uniform(*areas)
        aspect = math.exp(rng.uniform(math.log(ASPECTS[0]), math.log(ASPECTS[1])))
        across, along = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < across <= width and 0 < along <= height:
            left, top = int(rng.integers(width - across + 1)), int(rng.integers(height - along + 1))
            return left, top, left + across, top + along
    return 0, 0, width, height
