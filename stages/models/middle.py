"""Extremely long pictures, before a transform that scales the shorter side and then crops the middle.

Scaled whole, a strip of 30,000 x 2 pixels becomes one of 3,360,000 x 224: 3 GB, of which a square is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from PIL import Image
from torch import Tensor

Preprocess = Callable[[Image.Image], Tensor]

LONGEST: Final = 20.0
"""How many times the shorter side the longer one may be; nothing is cut off other pictures."""


def middle(image: Image.Image, longest: float = LONGEST) -> Image.Image:
    """The picture without its ends, if it is too long; a centre crop of the scaled picture shows the same.

    What is cut off are whole squares, as much on either side, so that the scaled pixels stay where they were.

    Args:
        image: any.
        longest: how many times the shorter side the longer one may be; up to two more remain.
    """
    shorter, longer = sorted(image.size)
    cut = int((longer - longest * shorter) / 2) // shorter * shorter
    if cut <= 0:
        return image
    width, height = image.size
    return image.crop((cut, 0, width - cut, height) if width > height else (0, cut, width, height - cut))


def safe(preprocess: Preprocess, settings: Mapping[str, Any]) -> Preprocess:
    """open_clip's transform, for pictures of any shape.

    Args:
        preprocess: the transform.
        settings: what it was made by, `preprocess_cfg` of the image tower.
    """
    mode, size = settings.get("resize_mode", "shortest"), settings.get("size", 224)
    if mode == "squash":  # the whole picture, whatever its shape
        return preprocess
    if mode == "shortest":
        return lambda image: preprocess(middle(image))
    # its longer side is scaled: of a longer picture no pixel of the shorter one would be left
    return lambda image: preprocess(middle(image, min(size) if isinstance(size, tuple | list) else size))
