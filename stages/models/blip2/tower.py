"""The frozen image tower under a Q-Former: one that a manifest names, or that of a folder of BLIP-2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import Blip2VisionModelWithProjection
from transformers.models.auto.image_processing_auto import AutoImageProcessor

from stages.contract import Dtype
from stages.models.blip.vision import BlipVision
from stages.models.device import torch_dtype
from stages.models.families import is_architecture, load_tower
from stages.models.family import CONFIG_FILE, ModelName
from stages.models.loading import LOADING_ERRORS, quiet
from stages.models.parts import check_pictures, check_weights
from stages.models.preparation import preparation
from stages.models.source import Source
from stages.models.vision.tower import View

Tower = Callable[[Tensor], Tensor]
"""Pixels, (images, 3, height, width), on the device, to features, (images, tokens, width), without gradients."""
MODEL_TYPE = "blip-2"
_LOST = ("missing_keys", "mismatched_keys")


def load_frozen_tower(name: ModelName, dtype: Dtype, device: torch.device) -> tuple[Tower, View]:
    """Load one, and how it wants its images.

    Raises:
        UserError: there is no such model, it is broken, or it has no tower that a Q-Former reads.
    """
    if name.pretrained is None and not is_architecture(name):
        source = name.source()
        config = source.config(CONFIG_FILE) or {}
        if config.get("model_type") == MODEL_TYPE:
            return _of_blip2(source, dtype, device)
    return load_tower(name, dtype, device)


def _of_blip2(source: Source, dtype: Dtype, device: torch.device) -> tuple[Tower, View]:
    """The tower of either stage: it ends where the Q-Former reads it, so its last block counts."""
    place, revision = source.location, source.revision or "main"
    try:
        with quiet():
            loaded: Any = Blip2VisionModelWithProjection.from_pretrained(
                place, revision=revision, dtype=torch_dtype(dtype), output_loading_info=True
            )
            processor: Any = AutoImageProcessor.from_pretrained(place, revision=revision)
    except LOADING_ERRORS as error:
        raise source.error("a BLIP-2", error) from None
    model, info = loaded
    of_tower = {key: [one for one in info[key] if "vision_model." in str(one)] for key in _LOST}
    check_weights(source, of_tower, "a BLIP-2")
    size = model.config.vision_config.image_size
    preprocess = preparation(processor)
    check_pictures(source, preprocess, (size, size))
    vision = BlipVision(model.vision_model).eval().requires_grad_(requires_grad=False).to(device)

    def tower(pixels: Tensor) -> Tensor:
        return vision.tokens(pixels).clone()  # of what inference mode makes, nothing can be learnt

    return tower, View(preprocess, (size, size), tuple(processor.image_mean), tuple(processor.image_std))
