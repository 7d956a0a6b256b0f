"""BLIP's text transformer (MED, arXiv 2201.12086, section 3.1): BERT with cross-attention to an image in every layer.

One module serves the captioner's decoder and the filter's encoder: they differ in which tokens see which, which the
caller says by the self-attention that it hands in. Tokens lie in one flat tensor without padding. The keys and values
of an image are computed once, and all texts of that image, of whatever number and length, are queries against them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers.models.blip.modeling_blip_text import BlipTextModel

from stages.models.ragged import Ragged

SelfAttention = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(layer, queries, keys, values), each (tokens, heads, head width), to the same shape: which tokens see which."""
ImageKeys = tuple[Tensor, Tensor]
"""Keys and values of images for one layer, each (images, heads, image tokens, head width)."""


class Layer(nn.Module):
    """Self-attention, cross-attention and feed-forward, each with residual and a norm behind it: a `BlipTextLayer`."""

    def __init__(self, loaded: Any) -> None:
        super().__init__()
        own, cross = loaded.attention, loaded.crossattention
        self.heads = own.self.num_attention_heads
        self.qkv = _fuse(own.self.query, own.self.key, own.self.value)
        self.output, self.norm = own.output.dense, own.output.LayerNorm
        self.image_query = cross.self.query
        self.image_keys = _fuse(cross.self.key, cross.self.value)
        self.image_output, self.image_norm = cross.output.dense, cross.output.LayerNorm
        self.up, self.activation = loaded.intermediate.dense, loaded.intermediate.intermediate_act_fn
        self.down, self.last_norm = loaded.output.dense, loaded.output.LayerNorm

    def look(self, embeds: Tensor) -> ImageKeys:
        """Keys and values of images; embeds are (images, image tokens, vision width)."""
        keys, values = self.image_keys(embeds).chunk(2, dim=-1)
        return self._split(keys).transpose(1, 2), self._split(values).transpose(1, 2)

    def forward(self, rows: Tensor, attend: Callable[..., Tensor], image: ImageKeys | None, by_image: Ragged) -> Tensor:
        """(tokens, width) to the same; `by_image` says which tokens belong to which image; with None they see none."""
        queries, keys, values = map(self._split, self.qkv(rows).chunk(3, dim=-1))
        rows = self.norm(rows + self.output(attend(queries, keys, values).flatten(1)))
        if image is not None:
            asking = by_image.pad(self._split(self.image_query(rows))).transpose(1, 2)
            seen = scaled_dot_product_attention(asking, image[0], image[1]).transpose(1, 2)
            rows = self.image_norm(rows + self.image_output(by_image.flatten(seen).flatten(1)))
        normed: Tensor = self.last_norm(rows + self.down(self.activation(self.up(rows))))
        return normed

    def _split(self, rows: Tensor) -> Tensor:
        return torch.unflatten(rows, -1, (self.heads, -1))


class Med(nn.Module):
    """The text transformer; takes its weights from a loaded `BlipTextModel`."""

    def __init__(self, loaded: BlipTextModel) -> None:
        super().__init__()
        self.words: Any = loaded.embeddings.word_embeddings
        self.positions = loaded.embeddings.position_embeddings
        self.norm = loaded.embeddings.LayerNorm
        self.layers: Any = nn.ModuleList(Layer(layer) for layer in loaded.encoder.layer)

    @property
    def cache_shape(self) -> tuple[int, int, int]:
        """Layers, heads, and the width of a head."""
        heads: int = self.layers[0].heads
        return len(self.layers), heads, self.words.embedding_dim // heads

    def look(self, embeds: Tensor) -> list[ImageKeys]:
        """Every layer's keys and values of images; embeds are (images, image tokens, vision width)."""
        return [layer.look(embeds) for layer in self.layers]

    def forward(
        self, ids: Tensor, places: Tensor, attend: SelfAttention, images: Sequence[ImageKeys] | None, by_image: Ragged
    ) -> Tensor:
        """Read tokens.

        Args:
            ids: (tokens,), int64.
            places: (tokens,), int64: the position of each within its text.
            attend: the self-attention.
            images: from `look`; None for the unimodal encoder, which looks at none: cross-attention is passed over.
            by_image: which tokens belong to which image; not asked where there is none.

        Returns:
            (tokens, width), the hidden state of each token.
        """
        rows: Tensor = self.norm(self.words(ids) + self.positions(places))
        seen = images if images is not None else [None] * len(self.layers)
        for number, (layer, image) in enumerate(zip(self.layers, seen, strict=True)):
            rows = layer(rows, lambda *qkv, number=number: attend(number, *qkv), image, by_image)
        return rows


def within_texts(by_text: Ragged) -> SelfAttention:
    """The encoder's self-attention: every token sees all tokens of its text."""
    mask = None if by_text.is_even else by_text.mask[:, None, None]

    def attend(layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:  # noqa: ARG001 - all alike
        asking, seen, told = (by_text.pad(rows).transpose(1, 2) for rows in (queries, keys, values))
        return by_text.flatten(scaled_dot_product_attention(asking, seen, told, attn_mask=mask).transpose(1, 2))

    return attend


def _fuse(*parts: nn.Linear) -> nn.Linear:
    """Linear layers of one input as one, whose outputs stand side by side."""
    first = parts[0]
    with torch.device("meta"):
        fused = nn.Linear(first.in_features, sum(part.out_features for part in parts))
    fused.weight = nn.Parameter(torch.cat([part.weight.detach() for part in parts]), requires_grad=False)
    fused.bias = nn.Parameter(torch.cat([part.bias.detach() for part in parts]), requires_grad=False)
    return fused
