"""BLIP's image tower: a pre-norm vision transformer whose parameters are named as timm and BLIP name them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear, scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from stages.models.blip.trainable.config import VisionConfig

DEVIATION = 0.02
"""Initial weights are normal with this deviation, cut off at 2 (timm's `trunc_normal_`)."""


class Attention(nn.Module):
    """Queries, keys and values in one, and the way out."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, rows: Tensor) -> Tensor:
        """(images, tokens, width) to the same."""
        return self._see(*self.qkv(rows).chunk(3, dim=-1))

    def first(self, rows: Tensor) -> Tensor:
        """What the first token sees, (images, 1, width)."""
        width = rows.shape[-1]
        asking = linear(rows[:, :1], self.qkv.weight[:width], self.qkv.bias[:width])
        return self._see(asking, *linear(rows, self.qkv.weight[width:], self.qkv.bias[width:]).chunk(2, dim=-1))

    def _see(self, *parts: Tensor) -> Tensor:
        queries, keys, values = (torch.unflatten(part, -1, (self.heads, -1)).transpose(1, 2) for part in parts)
        seen = scaled_dot_product_attention(queries, keys, values)
        out: Tensor = self.proj(seen.transpose(1, 2).flatten(2))
        return out


class FeedForward(nn.Module):
    """Wider in between."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)

    def forward(self, rows: Tensor) -> Tensor:
        """(..., width) to the same."""
        out: Tensor = self.fc2(gelu(self.fc1(rows)))
        return out


class Block(nn.Module):
    """Attention and feed-forward, each behind a norm, beside a residual, and left out for some images in training."""

    def __init__(self, config: VisionConfig, drop_path: float) -> None:
        super().__init__()
        self.drop_path = drop_path
        self.norm1 = nn.LayerNorm(config.width, eps=config.epsilon)
        self.attn = Attention(config.width, config.heads)
        self.norm2 = nn.LayerNorm(config.width, eps=config.epsilon)
        self.mlp = FeedForward(config.width, config.feed_forward)

    def forward(self, rows: Tensor) -> Tensor:
        """(images, tokens, width) to the same."""
        rows = rows + self._drop(self.attn(self.norm1(rows)))
        return rows + self._drop(self.mlp(self.norm2(rows)))

    def first(self, rows: Tensor) -> Tensor:
        """The first token's row of the same, (images, 1, width)."""
        first = rows[:, :1] + self._drop(self.attn.first(self.norm1(rows)))
        return first + self._drop(self.mlp(self.norm2(first)))

    def _drop(self, added: Tensor) -> Tensor:
        """Stochastic depth (Huang et al. 2016), an image at a time; what stays is scaled up."""
        if not self.training or self.drop_path == 0.0:
            return added
        kept = 1.0 - self.drop_path
        return added * added.new_empty((len(added), 1, 1)).bernoulli_(kept).div_(kept)


class Patches(nn.Module):
    """Pixels to patches."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=patch, stride=patch)

    def forward(self, pixels: Tensor) -> Tensor:
        """(images, 3, height, width) to (images, patches, width)."""
        patches: Tensor = self.proj(pixels)
        return patches.flatten(2).transpose(1, 2)


class VisionTransformer(nn.Module):
    """Pixels to tokens, the class token first."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.checkpointed = config.checkpointed
        self.cls_token = nn.Parameter(torch.empty(1, 1, config.width))
        self.pos_embed = nn.Parameter(torch.empty(1, config.patches + 1, config.width))
        self.patch_embed = Patches(config.width, config.patch)
        between = max(1, config.layers - 1)
        self.blocks: Any = nn.ModuleList(
            Block(config, config.drop_path * number / between) for number in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.width, eps=config.epsilon)
        self._initialise()

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode images.

        Args:
            pixels: (images, 3, image size, image size), normalised.

        Returns:
            (images, 1 + patches, width), behind the last norm.
        """
        rows = self._begin(pixels)
        for number in range(len(self.blocks)):
            rows = self._run(number, rows)
        normed: Tensor = self.norm(rows)
        return normed

    def first(self, pixels: Tensor) -> Tensor:
        """The class token's row of the same, (images, width); the last block computes no other."""
        rows = self._begin(pixels)
        for number in range(len(self.blocks) - 1):
            rows = self._run(number, rows)
        normed: Tensor = self.norm(self.blocks[-1].first(rows)[:, 0])
        return normed

    def _begin(self, pixels: Tensor) -> Tensor:
        patches = self.patch_embed(pixels)
        return torch.cat([self.cls_token.expand(len(patches), -1, -1).to(patches), patches], dim=1) + self.pos_embed

    def _run(self, number: int, rows: Tensor) -> Tensor:
        block, last = self.blocks[number], number >= len(self.blocks) - self.checkpointed
        again = last and torch.is_grad_enabled()
        out: Tensor = checkpoint(block, rows, use_reentrant=False) if again else block(rows)
        return out

    def _initialise(self) -> None:
        """BLIP's initial values; the patches' begin as torch makes them."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=DEVIATION)
                nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.pos_embed, std=DEVIATION)
        nn.init.trunc_normal_(self.cls_token, std=DEVIATION)
