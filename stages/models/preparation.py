"""How an image processor of transformers prepares pictures, in our words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PIL import Image
from torch import Tensor

from stages.models.middle import middle


def preparation(processor: Any) -> Callable[[Image.Image], Tensor]:
    """An RGB image to pixels, (3, height, width), float32, for pictures of any shape.

    It holds on to the processor alone, so that who keeps it does not keep the loaded model in memory.
    """
    scales_shorter = processor.size.shortest_edge is not None

    def prepare(image: Image.Image) -> Tensor:
        shown = middle(image) if scales_shorter else image
        pixels: Tensor = processor(shown, return_tensors="pt")["pixel_values"][0]
        return pixels

    return prepare
