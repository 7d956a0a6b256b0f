"""BLIP's text stack: BERT's post-norm layers with cross-attention, under the names of the published files.

One class serves the text encoder (alone, or looking at an image) and the body of the text decoder: what differs is
which token sees which, which `Reading` knows. Tokens lie in one line without padding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from stages.models.blip.trainable.config import TextConfig
from stages.models.blip.trainable.reading import KeysValues, Look, Reading, Seen
from stages.models.blip.trainable.texts import Texts
from stages.models.ragged import Ragged

EPSILON = 1e-12
BERT_WIDTH, DEVIATION = 768, 0.02
"""BERT's initial weights are normal with this deviation; in a narrower stack they are as much greater as keeps the
variance of what a layer gives out."""


class Projections(nn.Module):
    """Queries of rows; keys and values of what they look at."""

    def __init__(self, width: int, source_width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.rate = dropout
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(source_width, width)
        self.value = nn.Linear(source_width, width)

    @property
    def dropout(self) -> float:
        """Of the attention's weights."""
        return self.rate if self.training else 0.0

    def ask(self, rows: Tensor) -> Tensor:
        """(..., width) to (..., heads, head width)."""
        return self._split(self.query(rows))

    def show(self, source: Tensor) -> KeysValues:
        """(..., source width) to keys and values, each (..., heads, head width)."""
        return self._split(self.key(source)), self._split(self.value(source))

    def _split(self, rows: Tensor) -> Tensor:
        return torch.unflatten(rows, -1, (self.heads, -1))


class Output(nn.Module):
    """The way back to the residual, and the norm behind it."""

    def __init__(self, inner: int, width: int, dropout: float) -> None:
        super().__init__()
        self.dense = nn.Linear(inner, width)
        self.LayerNorm = nn.LayerNorm(width, eps=EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(self, found: Tensor, rows: Tensor) -> Tensor:
        """(rows, inner) and the residual, (rows, width)."""
        normed: Tensor = self.LayerNorm(rows + self.dropout(self.dense(found)))
        return normed


class Attention(nn.Module):
    """Self-attention or cross-attention with its residual."""

    def __init__(self, config: TextConfig, source_width: int) -> None:
        super().__init__()
        self.self = Projections(config.width, source_width, config.heads, config.dropout)
        self.output = Output(config.width, config.width, config.dropout)

    def forward(self, rows: Tensor, see: Callable[[Tensor, float], Tensor]) -> Tensor:
        """(rows, width) to the same; `see` takes queries and the rate of dropout."""
        attended: Tensor = self.output(see(self.self.ask(rows), self.self.dropout), rows)
        return attended


class Intermediate(nn.Module):
    """The wide part of the feed-forward."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.width, config.feed_forward)

    def forward(self, rows: Tensor) -> Tensor:
        """(rows, width) to (rows, inner)."""
        return gelu(self.dense(rows))


class Layer(nn.Module):
    """Self-attention, cross-attention where there is something to look at, feed-forward."""

    def __init__(self, config: TextConfig, source_width: int) -> None:
        super().__init__()
        self.attention = Attention(config, config.width)
        self.crossattention = Attention(config, source_width)
        self.intermediate = Intermediate(config)
        self.output = Output(config.feed_forward, config.width, config.dropout)

    def forward(self, rows: Tensor, number: int, reading: Reading, *, first: bool) -> Tensor:
        """One layer, the `number`th; with `first` the result is of the texts' first tokens only."""
        keys, values = self.attention.self.show(rows)
        within = reading.within_first if first else reading.within
        asking = rows[reading.starts] if first else rows
        rows = self.attention(asking, lambda queries, dropout: within(queries, keys, values, dropout))
        if reading.looks:
            rows = self.crossattention(
                rows, lambda queries, dropout: reading.across(number, queries, dropout, first=first)
            )
        out: Tensor = self.output(self.intermediate(rows), rows)
        return out


class Layers(nn.Module):
    """All of them; it exists for the published names."""

    def __init__(self, config: TextConfig, source_width: int) -> None:
        super().__init__()
        self.layer: Any = nn.ModuleList(Layer(config, source_width) for _ in range(config.layers))


class Embeddings(nn.Module):
    """Words and their places."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocabulary, config.width)
        self.position_embeddings = nn.Embedding(config.positions, config.width)
        self.LayerNorm = nn.LayerNorm(config.width, eps=EPSILON)
        self.dropout = nn.Dropout(config.dropout)
        # nothing reads it; the published files hold it
        self.register_buffer("position_ids", torch.arange(config.positions)[None])

    def forward(self, ids: Tensor, places: Tensor) -> Tensor:
        """(tokens,) and the place of each in its text, to (tokens, width)."""
        rows: Tensor = self.dropout(self.LayerNorm(self.word_embeddings(ids) + self.position_embeddings(places)))
        return rows


class TextStack(nn.Module):
    """The text transformer."""

    def __init__(self, config: TextConfig, source_width: int) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = Layers(config, source_width)
        self._initialise(linear_deviation(config.width))

    def look(self, sources: Tensor) -> Seen:
        """What images show, (images, image tokens, source width)."""
        shown = (layer.crossattention.self.show(sources) for layer in self.encoder.layer)
        return Seen(tuple((_by_head(keys), _by_head(values)) for keys, values in shown))

    def look_at_texts(self, rows: Tensor, lengths: Sequence[int]) -> Seen:
        """What texts show of which another stack has made rows, (tokens, source width)."""
        by_text = Ragged(lengths, rows.device)
        shown = (layer.crossattention.self.show(rows) for layer in self.encoder.layer)
        layers = tuple(
            (by_text.pad(keys).transpose(1, 2), by_text.pad(values).transpose(1, 2)) for keys, values in shown
        )
        return Seen(layers, None if by_text.is_even else by_text.mask[:, None, None])

    def forward(self, texts: Texts, looks: Sequence[Look] = (), *, causal: bool = False, first: bool = False) -> Tensor:
        """Read texts.

        Args:
            texts: what is read.
            looks: what they look at, in the order of the texts.
            causal: whether a token sees no later one.
            first: whether only the first token of each text is wanted.

        Returns:
            (tokens, width), or with `first` (texts, width).
        """
        reading = Reading(texts, looks, causal=causal, first=first)
        rows: Tensor = self.embeddings(texts.ids, reading.by_text.place)
        *early, last = self.encoder.layer
        for number, layer in enumerate(early):
            rows = layer(rows, number, reading, first=False)
        out: Tensor = last(rows, len(early), reading, first=first)
        return out

    def _initialise(self, deviation: float) -> None:
        """BERT's initial values; layer norms begin as torch makes them."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=deviation)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=DEVIATION)


def _by_head(rows: Tensor) -> Tensor:
    """Heads before columns, laid out so: several passes read it, each of which would else copy it."""
    return rows.transpose(1, 2).contiguous()


def linear_deviation(width: int) -> float:
    """Of the initial weights of a linear layer."""
    return DEVIATION * math.sqrt(BERT_WIDTH / width)
