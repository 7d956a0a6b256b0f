"""CLIP's two towers with nothing in vain: no padding to 77 tokens, and a last block for the pooled token alone.

Exact: a text's embedding is taken at its end token, which under the causal mask sees nothing behind it, so the padding
may be cut off; and of the last block only the pooled position is ever read. Built from what open_clip has loaded, for
its plain CLIP architecture; other architectures are left to open_clip's own forward.
"""

from __future__ import annotations

from typing import Any

import open_clip
import torch
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn

from stages.models.block import Block, BlockParts

TEXTS_AT_ONCE = 64
"""Texts of similar length that are padded to the longest of them."""
TEXTS_AT_ONCE_ON_GPU = 1024
"""There a kernel's start costs more than some padding."""


class ImageTower(nn.Module):
    """Pixels to embeddings."""

    def __init__(self, loaded: VisionTransformer) -> None:
        super().__init__()
        self.loaded: Any = loaded  # for what comes before and after the blocks
        self.blocks: Any = nn.ModuleList(Block(_parts(block)) for block in loaded.transformer.resblocks)

    @staticmethod
    def fits(visual: nn.Module) -> bool:
        """Whether this is the plain tower that pools its class token."""
        return (
            isinstance(visual, VisionTransformer)
            and visual.attn_pool is None
            and visual.pool_type == "tok"
            and isinstance(visual.patch_dropout, nn.Identity)
            and _has_plain_blocks(visual.transformer)
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """(images, 3, height, width) to (images, embedding width)."""
        rows = self.loaded._embeds(pixels)  # noqa: SLF001 - patches, positions and first norm, as open_clip has them
        *blocks, last = self.blocks
        for block in blocks:
            rows = block(rows)
        pooled = last.at(rows, torch.zeros(len(rows), dtype=torch.int64, device=rows.device))
        embedding: Tensor = self.loaded.ln_post(pooled)
        return embedding if self.loaded.proj is None else embedding @ self.loaded.proj


class TextTower(nn.Module):
    """Token ids to embeddings."""

    def __init__(self, loaded: open_clip.CLIP) -> None:
        super().__init__()
        self.loaded: Any = loaded
        self.blocks: Any = nn.ModuleList(Block(_parts(block)) for block in loaded.transformer.resblocks)

    @staticmethod
    def fits(model: nn.Module) -> bool:
        """Whether this is the plain tower that pools the end token under a causal mask."""
        return (
            isinstance(model, open_clip.CLIP)
            and model.text_pool_type in {"argmax", "eos"}
            and _is_causal(model.attn_mask)
            and _has_plain_blocks(model.transformer)
        )

    def forward(self, ids: Tensor) -> Tensor:
        """(texts, context length), padded behind the end token, to (texts, embedding width)."""
        ends = self._ends(ids)
        order = ends.argsort()
        embeddings = [
            self._encode(ids[some, : int(ends[some].max()) + 1], ends[some])
            for some in torch.split(order, self._at_once())
        ]
        return torch.cat(embeddings)[order.argsort()]

    def _at_once(self) -> int:
        on_gpu = self.loaded.positional_embedding.is_cuda
        return TEXTS_AT_ONCE_ON_GPU if on_gpu else TEXTS_AT_ONCE

    def _encode(self, ids: Tensor, ends: Tensor) -> Tensor:
        loaded, device = self.loaded, self.loaded.positional_embedding.device
        dtype = loaded.transformer.get_cast_dtype()
        ids, ends = ids.to(device), ends.to(device)
        rows = loaded.token_embedding(ids).to(dtype) + loaded.positional_embedding[: ids.shape[1]].to(dtype)
        *blocks, last = self.blocks
        for block in blocks:
            rows = block(rows, causal=True)
        pooled: Tensor = loaded.ln_final(last.at(rows, ends, causal=True))
        projection = loaded.text_projection
        if projection is None:
            return pooled
        projected: Tensor = projection(pooled) if isinstance(projection, nn.Linear) else pooled @ projection
        return projected

    def _ends(self, ids: Tensor) -> Tensor:
        """The position of each text's end token, as open_clip finds it."""
        if self.loaded.text_pool_type == "argmax":
            return ids.argmax(dim=-1)
        is_end: Tensor = ids == self.loaded.text_eos_id
        return is_end.int().argmax(dim=-1)


def _has_plain_blocks(transformer: Any) -> bool:
    return all(
        type(block) is ResidualAttentionBlock
        and isinstance(block.ls_1, nn.Identity)
        and isinstance(block.ls_2, nn.Identity)
        for block in transformer.resblocks
    )


def _is_causal(mask: Tensor | None) -> bool:
    return mask is not None and torch.equal(mask.isinf(), torch.ones_like(mask, dtype=torch.bool).triu(1))


def _parts(block: Any) -> BlockParts:
    attention = block.attn
    with torch.device("meta"):
        qkv = nn.Linear(attention.embed_dim, 3 * attention.embed_dim)
    qkv.weight, qkv.bias = attention.in_proj_weight, attention.in_proj_bias
    return BlockParts(
        norm_before_attention=block.ln_1,
        qkv=qkv,
        output=attention.out_proj,
        norm_before_feed_forward=block.ln_2,
        up=block.mlp.c_fc,
        activation=block.mlp.gelu,
        down=block.mlp.c_proj,
        heads=attention.num_heads,
    )
