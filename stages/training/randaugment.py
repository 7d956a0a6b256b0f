"""RandAugment as BLIP pretrains with it: two of ten changes, each made every other time, at half their strength.

Cubuk et al. 2019, arXiv 1909.13719; the changes and their strengths are those of BLIP's public code, whose brightness
and sharpness come to nothing at this strength and are left out of what is computed, not of what is drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

Pixels = NDArray[np.uint8]
"""(height, width, 3), RGB."""
Change = Callable[[Pixels, float], Pixels]
"""(pixels, sign of the strength: 1 or -1) to pixels."""

OPERATIONS: Final = 2
CHANCE: Final = 0.5
GREY: Final = (128, 128, 128)
"""What fills the corners."""
SHEAR: Final = 0.15
SHIFT: Final = 5.0
"""Pixels."""
TURN: Final = 15.0
"""Degrees."""


def randaugment(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Change an image.

    Args:
        pixels: as they are.
        rng: what is drawn from; the same number of draws for every image.
    """
    for number in rng.integers(len(CHANGES), size=OPERATIONS):
        made, sign = rng.random() < CHANCE, 1.0 if rng.random() < 0.5 else -1.0
        if made:
            pixels = CHANGES[number](pixels, sign)
    return pixels


def _same(pixels: Pixels, sign: float) -> Pixels:  # noqa: ARG001 - one signature for all
    return pixels


def _autocontrast(pixels: Pixels, sign: float) -> Pixels:  # noqa: ARG001
    return np.asarray(ImageOps.autocontrast(Image.fromarray(pixels)))


def _equalize(pixels: Pixels, sign: float) -> Pixels:  # noqa: ARG001
    return np.asarray(ImageOps.equalize(Image.fromarray(pixels)))


def _moved(matrix: list[list[float]], pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    moved = cv2.warpAffine(
        pixels, np.array(matrix, np.float32), (width, height), borderValue=GREY, flags=cv2.INTER_LINEAR
    )
    return moved.astype(np.uint8)


def _shear_x(pixels: Pixels, sign: float) -> Pixels:
    return _moved([[1, sign * SHEAR, 0], [0, 1, 0]], pixels)


def _shear_y(pixels: Pixels, sign: float) -> Pixels:
    return _moved([[1, 0, 0], [sign * SHEAR, 1, 0]], pixels)


def _translate_x(pixels: Pixels, sign: float) -> Pixels:
    return _moved([[1, 0, -sign * SHIFT], [0, 1, 0]], pixels)


def _translate_y(pixels: Pixels, sign: float) -> Pixels:
    return _moved([[1, 0, 0], [0, 1, -sign * SHIFT]], pixels)


def _rotate(pixels: Pixels, sign: float) -> Pixels:
    height, width = pixels.shape[:2]
    return _moved(cv2.getRotationMatrix2D((width / 2, height / 2), sign * TURN, 1).tolist(), pixels)


CHANGES: Final[tuple[Change, ...]] = (
    _same,
    _autocontrast,
    _same,  # brightness: a factor of 1 at half its strength
    _same,  # sharpness: likewise
    _equalize,
    _shear_x,
    _shear_y,
    _translate_x,
    _translate_y,
    _rotate,
)
