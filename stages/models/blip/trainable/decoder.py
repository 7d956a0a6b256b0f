"""BLIP's text decoder: a text stack that sees no later token, and the head that says the next word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu

from stages.models.blip.trainable.config import TextConfig
from stages.models.blip.trainable.reading import Look
from stages.models.blip.trainable.stack import EPSILON, TextStack, linear_deviation
from stages.models.blip.trainable.texts import Texts
from stages.models.device import in_full

SMOOTHING = 0.1
"""Label smoothing of every next word, over the whole vocabulary."""


class Spoken(NamedTuple):
    """What the decoder was asked to say."""

    losses: Tensor
    """(predicted,): the cross-entropy of every token that is predicted, with label smoothing."""
    texts: Tensor
    """(predicted,), int64: which text each is of."""

    @property
    def mean(self) -> Tensor:
        """Over the predicted tokens; 0 where there is none."""
        return self.losses.sum() / max(1, len(self.losses))

    def of_texts(self, number: int) -> Tensor:
        """The sum of each text's, (number,)."""
        return self.losses.new_zeros(number).index_add_(0, self.texts, self.losses)


class Transform(nn.Module):
    """The layer in front of the vocabulary."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.width, config.width)
        self.LayerNorm = nn.LayerNorm(config.width, eps=EPSILON)

    def forward(self, rows: Tensor) -> Tensor:
        """(rows, width) to the same."""
        normed: Tensor = self.LayerNorm(gelu(self.dense(rows)))
        return normed


class Predictions(nn.Module):
    """Rows to logits; the weights are the words', the bias has two names in the published files."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.transform = Transform(config)
        self.decoder = nn.Linear(config.width, config.vocabulary)
        self.bias = self.decoder.bias

    def forward(self, rows: Tensor) -> Tensor:
        """(rows, width) to (rows, vocabulary)."""
        logits: Tensor = self.decoder(self.transform(rows))
        return logits


class Head(nn.Module):
    """It exists for the published names."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.predictions = Predictions(config)


class TextDecoder(nn.Module):
    """Writes a text about what it looks at."""

    def __init__(self, config: TextConfig, source_width: int) -> None:
        super().__init__()
        self.start = config.start
        self.bert = TextStack(config, source_width)
        self.cls = Head(config)
        predictions = self.cls.predictions
        predictions.decoder.weight = self.bert.embeddings.word_embeddings.weight
        nn.init.normal_(predictions.transform.dense.weight, std=linear_deviation(config.width))
        nn.init.zeros_(predictions.transform.dense.bias)
        nn.init.zeros_(predictions.bias)

    def forward(self, texts: Texts, looks: Sequence[Look], prompt: int = 1) -> Spoken:
        """How well the texts are said.

        Args:
            texts: what is to be said; the first token of each is replaced by the start token.
            looks: what it is about, in the order of the texts.
            prompt: the first tokens of each text that are given and not said, the start token among them.
        """
        rows = self.bert(texts.begin_with(self.start), looks, causal=True)
        device, said = rows.device, list(_said(texts, prompt))
        place = torch.tensor([place for place, _ in said], dtype=torch.int64, device=device)
        logits = in_full(self.logits(rows[place - 1]))
        losses = cross_entropy(logits, texts.ids[place], label_smoothing=SMOOTHING, reduction="none")
        return Spoken(losses, torch.tensor([text for _, text in said], dtype=torch.int64, device=device))

    def logits(self, rows: Tensor) -> Tensor:
        """Of the token behind each row; (rows, width) to (rows, vocabulary)."""
        logits: Tensor = self.cls.predictions(rows)
        return logits


def _said(texts: Texts, prompt: int) -> list[tuple[int, int]]:
    """The place of every token that is predicted, and the number of its text."""
    return [
        (start + token, text)
        for text, (start, length) in enumerate(zip(texts.starts, texts.lengths, strict=True))
        for token in range(max(1, prompt), length)
    ]
