"""A language model that goes on from a text: OPT, and whatever else transformers has of `AutoModelForCausalLM`.

It reads soft prompts, then what its tokenizer begins a text with, the text, and a new line. The new line ends a
caption, in the place of the model's own end (Li et al. 2023, arXiv 2301.12597; LAVIS, `blip2_opt.py`). A text that is
cut at the limit has none, as there: it does not end where it is cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from stages.contract import Dtype
from stages.models.family import ModelName
from stages.models.language.loading import load_parts, positions_of
from stages.models.language.model import IGNORED, Opening, Read, joined, padded, text_of
from stages.models.language.writing import DecoderWriter

NEW_LINE = "\n"


class DecoderModel:
    """See `stages.models.language.model.LanguageModel`."""

    divides: bool = False

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._embedding = model.get_input_embeddings()
        self.width: int = self._embedding.embedding_dim
        self.positions = positions_of(model)
        self._begin = _begin(tokenizer)
        self.end: int = tokenizer(NEW_LINE, add_special_tokens=False)["input_ids"][-1]
        """The token of a new line."""

    def tokens(self, text: str) -> list[int]:
        """A text behind what a text begins with, without an end."""
        words: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return self._begin + words

    def read(self, given: Sequence[str], said: Sequence[str], limit: int) -> Read:
        """See `LanguageModel`. Where nothing is given, the mark that a text begins with is learnt too, as in LAVIS."""
        rows = [[*self.tokens(joined(*pair)), self.end][:limit] for pair in zip(given, said, strict=True)]
        before = [len(self.tokens(text.rstrip())) if text else 0 for text in given]
        labels = [[IGNORED] * min(known, len(row)) + row[known:] for known, row in zip(before, rows, strict=True)]
        return Read(padded(rows, 0), padded([[1] * len(row) for row in rows], 0).bool(), padded(labels, IGNORED))

    def logits(self, soft: Tensor, read: Read) -> Tensor:
        """See `LanguageModel`. The model computes in its own number format."""
        with torch.autocast(soft.device.type, enabled=False):
            embeds = torch.cat([soft.to(self._embedding.weight.dtype), self._embedding(read.ids)], dim=1)
            mask = torch.cat([read.real.new_ones(soft.shape[:2]), read.real], dim=1).long()
            places = read.ids.shape[1] + 1  # a token's logits stand at the one before it, the first one's at a query
            out = self._model(inputs_embeds=embeds, attention_mask=mask, use_cache=False, logits_to_keep=places)
            found: Tensor = out.logits[:, -places:-1]
        return found

    def opening(self, given: str) -> Opening:
        """See `LanguageModel`."""
        return Opening(DecoderWriter(self._model), self.tokens(given.rstrip()), self.end, self.end)

    def text(self, tokens: list[int]) -> str:
        """See `LanguageModel`."""
        return text_of(self._tokenizer, tokens, self.end)


def load_decoder(name: ModelName, dtype: Dtype, device: torch.device) -> DecoderModel:
    """Load one.

    Raises:
        UserError: there is no such model, or it is broken.
    """
    return DecoderModel(*load_parts(name, AutoModelForCausalLM, dtype, device))


def _begin(tokenizer: Any) -> list[int]:
    """The marks that a tokenizer begins a text with."""
    marked, bare = (tokenizer("a", add_special_tokens=marks)["input_ids"] for marks in (True, False))
    begin: list[int] = marked[: marked.index(bare[0])]
    return begin
