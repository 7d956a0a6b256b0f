"""A language model that reads a text and writes how it goes on: T5, FlanT5 and their like.

Its encoder reads soft prompts and the first part of a text, its decoder learns to write the second (Li et al. 2023,
arXiv 2301.12597, section 3.2, prefix language modelling; LAVIS, `blip2_t5.py`). The activation of its feed-forwards
stays the model's own, where LAVIS puts another one (plain GELU) into FlanT5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.models.auto.modeling_auto import AutoModelForSeq2SeqLM

from stages.contract import Dtype
from stages.errors import UserError
from stages.models.family import ModelName
from stages.models.language.loading import load_parts
from stages.models.language.model import IGNORED, Opening, Read, padded, text_of
from stages.models.language.writing import PrefixWriter
from stages.models.source import key_of


class PrefixModel:
    """See `stages.models.language.model.LanguageModel`."""

    divides: bool = True
    positions: int | None = None

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._embedding = model.get_input_embeddings()
        self.width: int = self._embedding.embedding_dim

    def read(self, given: Sequence[str], said: Sequence[str], limit: int) -> Read:
        """See `LanguageModel`. Either part has so many tokens at most, and the end mark that the tokenizer gives it."""
        read, labels = ([self._tokens(text, limit) for text in texts] for texts in (given, said))
        return Read(padded(read, 0), padded([[1] * len(row) for row in read], 0).bool(), padded(labels, IGNORED))

    def _tokens(self, text: str, limit: int) -> list[int]:
        """Cut here, for a tokenizer that is told to cut by two threads at once refuses."""
        ids: list[int] = self._tokenizer(text)["input_ids"]
        return ids if len(ids) <= limit else [*ids[: limit - 1], self._tokenizer.eos_token_id]

    def logits(self, soft: Tensor, read: Read) -> Tensor:
        """See `LanguageModel`. The model computes in its own number format."""
        with torch.autocast(soft.device.type, enabled=False):
            embeds = torch.cat([soft.to(self._embedding.weight.dtype), self._embedding(read.ids)], dim=1)
            mask = torch.cat([read.real.new_ones(soft.shape[:2]), read.real], dim=1).long()
            out = self._model(
                inputs_embeds=embeds,
                attention_mask=mask,
                decoder_input_ids=self._model.prepare_decoder_input_ids_from_labels(read.labels),
                decoder_attention_mask=(read.labels != IGNORED).long(),
                use_cache=False,
            )
        found: Tensor = out.logits
        return found

    def opening(self, given: str) -> Opening:
        """See `LanguageModel`."""
        config, read = self._model.config, self._tokenizer(given.rstrip())["input_ids"]
        writer = PrefixWriter(self._model, read)
        return Opening(writer, [config.decoder_start_token_id], self._tokenizer.eos_token_id, config.pad_token_id)

    def text(self, tokens: list[int]) -> str:
        """See `LanguageModel`."""
        return text_of(self._tokenizer, tokens, self._tokenizer.eos_token_id)


def load_prefix(name: ModelName, dtype: Dtype, device: torch.device) -> PrefixModel:
    """Load one.

    Raises:
        UserError: there is no such model, or it is broken, or was asked for in a format that overflows in it.
    """
    check_format(name, dtype)
    return PrefixModel(*load_parts(name, AutoModelForSeq2SeqLM, dtype, device))


def check_format(name: ModelName, dtype: Dtype) -> None:
    """See that a T5 is not asked for in half precision.

    Raises:
        UserError: it is.
    """
    if dtype == "float16":
        raise UserError(f"{key_of(name.key, 'dtype')}: T5's numbers overflow in float16; set it to bfloat16 or float32")
