"""A language model that goes on from soft prompts, several times for each: what it has read is computed once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput


class DecoderWriter:
    """A decoder; see `stages.models.writing.Writer`."""

    def __init__(self, model: Any) -> None:
        self._model = model

    @torch.inference_mode()
    def read_prompt(
        self,
        embeds: Tensor,
        prompt: list[int],
        candidates: int,
        steps: int,  # noqa: ARG002 - its memory grows by itself
    ) -> tuple[DecoderTexts, Tensor]:
        """Soft prompts, (images, queries, width), and the tokens behind them."""
        embedding = self._model.get_input_embeddings()
        words = embedding(torch.tensor(prompt, device=embeds.device)).expand(len(embeds), -1, -1)
        read = torch.cat([embeds.to(words.dtype), words], dim=1)
        out = self._model(inputs_embeds=read, use_cache=True, logits_to_keep=1)
        out.past_key_values.batch_repeat_interleave(candidates)
        texts = DecoderTexts(self._model, out.past_key_values, read.shape[1])
        return texts, out.logits[:, -1].float().repeat_interleave(candidates, dim=0)


class DecoderTexts:
    """See `stages.models.writing.Texts`."""

    def __init__(self, model: Any, cache: Any, length: int) -> None:
        self._model = model
        self._cache = cache
        self._length = length

    @torch.inference_mode()
    def read(self, ids: Tensor) -> Tensor:
        """One token more in every row."""
        self._length += 1
        mask = ids.new_ones(len(ids), self._length)
        out = self._model(input_ids=ids[:, None], attention_mask=mask, past_key_values=self._cache, use_cache=True)
        logits: Tensor = out.logits[:, -1].float()
        return logits

    @torch.inference_mode()
    def keep(self, rows: list[int]) -> None:
        """Go on with these rows."""
        self._cache.batch_select_indices(torch.tensor(rows, device=self._model.device))


class PrefixWriter:
    """A T5, whose encoder reads soft prompts and what is given; see `stages.models.writing.Writer`."""

    def __init__(self, model: Any, given: list[int]) -> None:
        self._model = model
        self._given = given

    @torch.inference_mode()
    def read_prompt(
        self,
        embeds: Tensor,
        prompt: list[int],
        candidates: int,
        steps: int,  # noqa: ARG002 - its memory grows by itself
    ) -> tuple[PrefixTexts, Tensor]:
        """Soft prompts, (images, queries, width); the prompt is what the decoder begins with."""
        words = self._model.get_input_embeddings()(torch.tensor(self._given, device=embeds.device))
        read = torch.cat([embeds.to(words.dtype), words.expand(len(embeds), -1, -1)], dim=1)
        encoded = self._model.get_encoder()(inputs_embeds=read)[0]
        ids = torch.tensor(prompt, device=embeds.device).expand(len(embeds), -1)
        out = self._model(
            encoder_outputs=BaseModelOutput(last_hidden_state=encoded), decoder_input_ids=ids, use_cache=True
        )
        out.past_key_values.batch_repeat_interleave(candidates)
        texts = PrefixTexts(self._model, out.past_key_values, encoded.repeat_interleave(candidates, dim=0))
        return texts, out.logits[:, -1].float().repeat_interleave(candidates, dim=0)


class PrefixTexts:
    """See `stages.models.writing.Texts`."""

    def __init__(self, model: Any, cache: Any, encoded: Tensor) -> None:
        self._model = model
        self._cache = cache
        self._encoded = encoded
        """Its keys and values are in the cache; here it only says what there is."""

    @torch.inference_mode()
    def read(self, ids: Tensor) -> Tensor:
        """One token more in every row."""
        out = self._model(
            encoder_outputs=BaseModelOutput(last_hidden_state=self._encoded),
            decoder_input_ids=ids[:, None],
            past_key_values=self._cache,
            use_cache=True,
        )
        logits: Tensor = out.logits[:, -1].float()
        return logits

    @torch.inference_mode()
    def keep(self, rows: list[int]) -> None:
        """Go on with these rows."""
        index = torch.tensor(rows, device=self._encoded.device)
        self._cache.batch_select_indices(index)
        self._encoded = self._encoded[index]
