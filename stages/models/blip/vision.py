"""BLIP's image tower, with fused attention in place of the 577 x 577 maps that transformers writes out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.blip.modeling_blip import BlipVisionModel
from transformers.models.blip_2.modeling_blip_2 import Blip2VisionModel

from stages.models.block import Block, BlockParts


class BlipVision(nn.Module):
    """Pixels to tokens; takes its weights from a loaded `BlipVisionModel`, or one of BLIP-2, without copying them."""

    def __init__(self, loaded: BlipVisionModel | Blip2VisionModel) -> None:
        super().__init__()
        self.embeddings = loaded.embeddings
        self.blocks = nn.ModuleList(Block(_parts(layer)) for layer in loaded.encoder.layers)
        self.norm = loaded.post_layernorm

    @torch.inference_mode()
    def forward(self, pixels: Tensor) -> Tensor:
        """(images, 3, height, width) to (images, 1 + patches, width), the class token first, normed."""
        normed: Tensor = self.norm(self.tokens(pixels))
        return normed

    @torch.inference_mode()
    def tokens(self, pixels: Tensor) -> Tensor:
        """The same without the last norm."""
        weight = self.norm.weight
        rows: Tensor = self.embeddings(pixels.to(weight.device, weight.dtype))
        for block in self.blocks:
            rows = block(rows)
        return rows


def _parts(layer: Any) -> BlockParts:
    return BlockParts(
        norm_before_attention=layer.layer_norm1,
        qkv=layer.self_attn.qkv,
        output=layer.self_attn.projection,
        norm_before_feed_forward=layer.layer_norm2,
        up=layer.mlp.fc1,
        activation=layer.mlp.activation_fn,
        down=layer.mlp.fc2,
        heads=layer.self_attn.num_heads,
    )
