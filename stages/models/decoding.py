"""Drawing several captions per image from BLIP's text decoder, each with random numbers of its own.

The image and the prompt are the same for all candidates of an image, so the decoder reads them once per image, and the
cached keys and values are repeated afterwards: a tenth of the projections of `generate(num_return_sequences=10)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from stages.models.sampling import Sampling, draw, warp

if TYPE_CHECKING:
    from transformers.models.blip.modeling_blip_text import BlipTextLMHeadModel


@dataclass(frozen=True)
class Prompt:
    """What every caption begins with, and the decoder's marks."""

    tokens: list[int]
    end: int
    pad: int


@dataclass(frozen=True)
class Drawn:
    """Tokens that were drawn, without the prompt."""

    tokens: Tensor
    """(images, candidates, steps), int64; the end token stands where one was drawn, padding behind it."""
    logprobs: Tensor
    """(images, candidates), float32: sum over the drawn tokens, the end token included, of their log probability under
    the model itself, before any filter."""


@torch.inference_mode()
def sample(
    decoder: BlipTextLMHeadModel, image_embeds: Tensor, prompt: Prompt, uniforms: Tensor, sampling: Sampling
) -> Drawn:
    """Draw captions until each has ended or has `max_length` tokens.

    Args:
        decoder: BLIP's text decoder.
        image_embeds: (images, patches + 1, width), in the decoder's number format.
        prompt: what every caption begins with.
        uniforms: (images, candidates, at least max_length), float64, on the decoder's device.
        sampling: how to draw.
    """
    images, candidates = uniforms.shape[:2]
    numbers = uniforms.flatten(0, 1)
    reader = _Reader(decoder, image_embeds)
    logits = reader.read_prompt(prompt.tokens, candidates)
    tokens = torch.tensor([prompt.tokens], device=logits.device).expand(len(logits), -1)
    running = torch.ones(len(logits), dtype=torch.bool, device=logits.device)
    logprobs = torch.zeros(len(logits), device=logits.device)
    for step in range(sampling.max_length):
        if step > 0:
            logits = reader.read(tokens[:, -1:])
        allowed = logits if step >= sampling.min_length else _without(logits, prompt.end)
        drawn = draw(warp(allowed, tokens, sampling), numbers[:, step])
        logprobs += torch.where(running, _logprob(logits, drawn), 0.0)
        drawn = torch.where(running, drawn, prompt.pad)
        tokens = torch.cat([tokens, drawn[:, None]], dim=1)
        running &= drawn != prompt.end
        if not running.any():
            break
    texts = tokens[:, len(prompt.tokens) :]
    return Drawn(texts.reshape(images, candidates, -1), logprobs.reshape(images, candidates))


class _Reader:
    """The decoder, and the keys and values of what it has read."""

    def __init__(self, decoder: BlipTextLMHeadModel, image_embeds: Tensor) -> None:
        self._decoder = decoder
        self._image_embeds = image_embeds
        self._cache: Any = None

    def read_prompt(self, prompt: list[int], candidates: int) -> Tensor:
        """Read the prompt once per image, then go on with `candidates` copies; returns as `read`."""
        ids = torch.tensor([prompt], device=self._image_embeds.device).expand(len(self._image_embeds), -1)
        logits = self.read(ids).repeat_interleave(candidates, dim=0)
        self._cache.batch_repeat_interleave(candidates)
        return logits

    def read(self, ids: Tensor) -> Tensor:
        """Read (rows, tokens) on; returns the logits of what comes next, (rows, vocabulary), float32."""
        output = self._decoder(
            input_ids=ids,
            # Looked at the first time only; then its keys and values are in the cache, a copy for every row.
            encoder_hidden_states=self._image_embeds,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self._cache = output.past_key_values
        logits: Tensor = output.logits[:, -1].float()
        return logits


def _without(logits: Tensor, token: int) -> Tensor:
    """Logits with one token ruled out."""
    ruled_out = logits.clone()
    ruled_out[:, token] = -torch.inf
    return ruled_out


def _logprob(logits: Tensor, tokens: Tensor) -> Tensor:
    return logits.log_softmax(dim=-1).gather(1, tokens[:, None])[:, 0]
