"""A frozen language model, as BLIP-2's second stage sees it: soft prompts and texts in, logits out.

Li et al. 2023 (arXiv 2301.12597), section 3.2. There are two kinds: a decoder goes on from what it is given, and a
model like T5 reads what it is given with its encoder and writes the rest with its decoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from stages.models.writing import Writer

IGNORED = -100
"""The label of what is not to be said."""


class Read(NamedTuple):
    """What a language model reads of a batch of texts, behind the soft prompts, and what it is to say."""

    ids: Tensor
    """(batch, tokens), int64."""
    real: Tensor
    """(batch, tokens), bool: False on padding, which is on the right."""
    labels: Tensor
    """(batch, said), int64; IGNORED where nothing is to be said. Of a decoder, `said` are the `tokens`."""

    def to(self, device: torch.device) -> Read:
        """The same on a device."""
        return Read(self.ids.to(device), self.real.to(device), self.labels.to(device))


class LanguageModel(Protocol):
    """A frozen language model; it is no `nn.Module`, so that who holds one neither trains nor saves it."""

    width: int
    """Of its word embeddings, and so of soft prompts."""
    divides: bool
    """Whether it learns from a text in two parts, of which it reads the first and says the second."""
    positions: int | None
    """How many soft prompts and tokens together it can read; None for any number."""

    def read(self, given: Sequence[str], said: Sequence[str], limit: int) -> Read:
        """Texts to tokens, on the CPU.

        Args:
            given: of each text what is read and not learnt; "" for nothing.
            said: how it goes on.
            limit: tokens that are read of a text, marks included.
        """
        ...

    def logits(self, soft: Tensor, read: Read) -> Tensor:
        """Of every label's token: (batch, said, vocabulary), in the model's number format.

        Args:
            soft: (batch, queries, width), which stands before the texts; gradients flow back to it.
            read: the texts.
        """
        ...

    def opening(self, given: str) -> Opening:
        """How it goes on from soft prompts and a text."""
        ...

    def text(self, tokens: list[int]) -> str:
        """Tokens that it has said, as a text; what stands behind the end is none of it."""
        ...


class Opening(NamedTuple):
    """A language model that is about to speak."""

    writer: Writer
    tokens: list[int]
    """What it begins with, behind the soft prompts."""
    end: int
    """The token that ends a text."""
    pad: int
    """What stands behind it."""


def text_of(tokenizer: Any, tokens: list[int], end: int) -> str:
    """The text of tokens up to the end, without marks."""
    said = tokens[: tokens.index(end)] if end in tokens else tokens
    text: str = tokenizer.decode(said, skip_special_tokens=True)
    return text.strip()


def padded(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    """Rows of different lengths as one, (rows, longest), int64, with a value on the right of the shorter ones."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows])


def joined(given: str, said: str) -> str:
    """Both as one text, with a space between them."""
    given = given.rstrip()
    return f"{given} {said}" if given and said else given or said
