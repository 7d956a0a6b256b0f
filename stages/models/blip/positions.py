"""BLIP's position embeddings for images of another size."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from stages.errors import UserError
from stages.models.blip.description import Description
from stages.models.blip.names import State

_NAMES = ("visual_encoder.pos_embed", "visual_encoder_m.pos_embed")


def resize(state: State, description: Description, image_size: int, key: str) -> tuple[dict[str, Tensor], Description]:
    """A model for images of another size; of the weights the position embeddings alone change.

    Args:
        state: weights under published names.
        description: what they are of.
        image_size: height and width in pixels.
        key: the manifest key that asks for it, for messages.

    Raises:
        UserError: the size cannot be cut into the model's patches.
    """
    patch = description.vision.patch
    if image_size < patch or image_size % patch:
        raise UserError(f"{key}: {image_size} pixels cannot be cut into patches of {patch}; give a multiple of {patch}")
    side = image_size // patch
    resized = {name: resize_positions(value, side) if name in _NAMES else value for name, value in state.items()}
    return resized, replace(description, vision=replace(description.vision, image_size=image_size))


def resize_positions(positions: Tensor, side: int) -> Tensor:
    """Bicubic interpolation, the class token's untouched (`interpolate_pos_embed` of BLIP's models/vit.py).

    Args:
        positions: (1, 1 + patches of a square image, width).
        side: patches of one side that are wanted.

    Returns:
        (1, 1 + side x side, width), in the same number format.
    """
    before = round((positions.shape[1] - 1) ** 0.5)
    if before == side:
        return positions
    square = positions[:, 1:].reshape(1, before, before, -1).permute(0, 3, 1, 2)
    exact = square.to(torch.promote_types(square.dtype, torch.float32))
    resized = interpolate(exact, size=(side, side), mode="bicubic", align_corners=False)
    return torch.cat([positions[:, :1], resized.flatten(2).transpose(1, 2).to(positions.dtype)], dim=1)
