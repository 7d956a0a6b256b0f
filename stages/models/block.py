"""The pre-norm transformer block that BLIP's image tower and both of CLIP's towers are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention

Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class BlockParts:
    """What a published checkpoint gives a block: modules of its own, or of the library that loaded it."""

    norm_before_attention: nn.Module
    qkv: nn.Linear
    """Width to three widths: queries, keys, values."""
    output: nn.Linear
    norm_before_feed_forward: nn.Module
    up: nn.Linear
    activation: Map
    down: nn.Linear
    heads: int


class Block(nn.Module):
    """Attention and feed-forward, each behind a norm and beside a residual; attention is never materialised."""

    def __init__(self, parts: BlockParts) -> None:
        super().__init__()
        self.norm_before_attention = parts.norm_before_attention
        self.qkv = parts.qkv
        self.output = parts.output
        self.norm_before_feed_forward = parts.norm_before_feed_forward
        self.up = parts.up
        self.activation = parts.activation
        self.down = parts.down
        self.heads = parts.heads

    def forward(self, rows: Tensor, *, causal: bool = False) -> Tensor:
        """(batch, tokens, width) to the same."""
        queries, keys, values = map(self._split, self.qkv(self.norm_before_attention(rows)).chunk(3, dim=-1))
        seen = scaled_dot_product_attention(queries, keys, values, is_causal=causal)
        return self._feed_forward(rows + self.output(_join(seen)))

    def at(self, rows: Tensor, positions: Tensor, *, causal: bool = False) -> Tensor:
        """What `forward` gives at one position of each row: all that the last block of a pooled tower is asked for.

        Args:
            rows: (batch, tokens, width).
            positions: (batch,), int64.
            causal: whether a position sees no later one.

        Returns:
            (batch, width).
        """
        width = rows.shape[-1]
        weight, bias = self.qkv.weight, self.qkv.bias
        normed = self.norm_before_attention(rows)
        picked = _pick(normed, positions)
        queries = self._split(linear(picked, weight[:width], bias[:width]))
        keys, values = map(self._split, linear(normed, weight[width:], bias[width:]).chunk(2, dim=-1))
        mask = None
        if causal:
            mask = (torch.arange(rows.shape[1], device=rows.device) <= positions[:, None])[:, None, None]
        seen = scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        return self._feed_forward(_pick(rows, positions) + self.output(_join(seen)))[:, 0]

    def _feed_forward(self, rows: Tensor) -> Tensor:
        added: Tensor = self.down(self.activation(self.up(self.norm_before_feed_forward(rows))))
        return rows + added

    def _split(self, rows: Tensor) -> Tensor:
        return torch.unflatten(rows, -1, (self.heads, -1)).transpose(1, 2)


def _pick(rows: Tensor, positions: Tensor) -> Tensor:
    return rows[torch.arange(len(rows), device=rows.device), positions][:, None]


def _join(heads: Tensor) -> Tensor:
    return heads.transpose(1, 2).flatten(2)
