"""From whatever a file holds to 8 bits a sample, three channels, transparent parts on white."""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image

STRIP: Final = 2**20
"""Pixels of a large picture that are converted at once: little of it is there twice."""


def to_rgb(image: Image.Image, factor: int = 1) -> Image.Image:
    """The picture in RGB, with every `factor` x `factor` pixels averaged; one that is so already is returned itself."""
    if factor == 1 and (_is_plain(image) or image.width * image.height <= STRIP):
        return _converted(image)
    width, height = image.size
    whole = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    rows = factor * max(1, STRIP // (width * factor))
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        strip.info = image.info
        whole.paste(_converted(strip).reduce(factor), (0, top // factor))
    return whole


def _converted(image: Image.Image) -> Image.Image:
    if _is_plain(image):
        return image
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) // 257).astype(np.uint8)).convert("RGB")
    if image.mode[-1] not in "Aa" and "transparency" not in image.info:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _is_plain(image: Image.Image) -> bool:
    return image.mode == "RGB" and "transparency" not in image.info
