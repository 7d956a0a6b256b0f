"""LAVIS's two image towers as torch modules, of any size: what its `load_state_dict(strict=False)` would fill.

Written from their description: `clip_vit` always has a norm before its blocks and QuickGELU in feed-forwards four times
as wide, `eva_vit` has biases of queries and values, GELU, and norms with an epsilon of 1e-6. Neither has a last norm.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class QuickGELU(nn.Module):
    def forward(self, rows: Tensor) -> Tensor:
        return rows * torch.sigmoid(1.702 * rows)


class ClipBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential()
        for name, module in (
            ("c_fc", nn.Linear(width, 4 * width)),
            ("gelu", QuickGELU()),
            ("c_proj", nn.Linear(4 * width, width)),
        ):
            self.mlp.add_module(name, module)

    def forward(self, rows: Tensor) -> Tensor:
        normed = self.ln_1(rows)
        rows = rows + self.attn(normed, normed, normed, need_weights=False)[0]
        return rows + self.mlp(self.ln_2(rows))


class ClipTower(nn.Module):
    def __init__(self, image: int, patch: int, width: int, blocks: int, heads: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.positional_embedding = nn.Parameter(torch.zeros(1 + (image // patch) ** 2, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.Sequential(*(ClipBlock(width, heads) for _ in range(blocks)))

    def forward(self, pixels: Tensor) -> Tensor:
        rows = self.conv1(pixels).flatten(2).transpose(1, 2)
        rows = torch.cat([self.class_embedding.expand(len(rows), 1, -1), rows], dim=1)
        return self.transformer.resblocks(self.ln_pre(rows + self.positional_embedding))


class EvaAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)
        self.q_bias, self.v_bias = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))

    def forward(self, rows: Tensor) -> Tensor:
        query, key, value = self.qkv(rows).chunk(3, dim=-1)
        parts = (query + self.q_bias, key, value + self.v_bias)
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        weights = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(dim=-1)
        return self.proj((weights @ value).transpose(1, 2).flatten(2))


class EvaBlock(nn.Module):
    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn = EvaAttention(width, heads)
        self.mlp = nn.Module()
        self.mlp.fc1, self.mlp.fc2 = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, rows: Tensor) -> Tensor:
        rows = rows + self.attn(self.norm1(rows))
        return rows + self.mlp.fc2(nn.functional.gelu(self.mlp.fc1(self.norm2(rows))))


class EvaTower(nn.Module):
    def __init__(self, image: int, patch: int, width: int, blocks: int, heads: int, inner: int) -> None:
        super().__init__()
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, width, patch, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (image // patch) ** 2, width))
        self.blocks = nn.Sequential(*(EvaBlock(width, heads, inner) for _ in range(blocks)))

    def forward(self, pixels: Tensor) -> Tensor:
        rows = self.patch_embed.proj(pixels).flatten(2).transpose(1, 2)
        return self.blocks(torch.cat([self.cls_token.expand(len(rows), -1, -1), rows], dim=1) + self.pos_embed)
