"""Drawing several captions per image from BLIP's text decoder, each with random numbers of its own.

The image is looked at once: its keys and values serve all of its candidates, which are so many queries against them.
The prompt is read once per image too. A caption that has ended leaves the batch, so that one long caption does not
keep the others' rows computing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers.models.blip.modeling_blip_text import BlipTextLMHeadModel

from stages.models.blip.med import ImageKeys, Med
from stages.models.blip.sampling import Sampling, draw_next
from stages.models.ragged import Ragged
from stages.models.writing import Writer

RETIRE_EVERY = {"cpu": 1, "cuda": 4}
"""Steps between two looks at which captions have ended. On a GPU each look waits for all work that was queued."""


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
    the model itself, before any filter. Not finite if the logits of one of these steps were not."""


class Decoder(nn.Module):
    """BLIP's text decoder: what it has read, and the logits of what comes next."""

    def __init__(self, loaded: BlipTextLMHeadModel) -> None:
        super().__init__()
        self.text = Med(loaded.bert)
        self.head: Any = loaded.cls.predictions

    @torch.inference_mode()
    def read_prompt(self, embeds: Tensor, prompt: list[int], candidates: int, steps: int) -> tuple[Reading, Tensor]:
        """Read the prompt before each image, then go on with `candidates` rows for each.

        Args:
            embeds: (images, image tokens, vision width), in the decoder's number format.
            prompt: token ids.
            candidates: rows per image.
            steps: how many tokens may follow the prompt.

        Returns:
            The state, and the logits of the first token, (images * candidates, vocabulary), float32.
        """
        images, length, device = len(embeds), len(prompt), embeds.device
        by_image = Ragged([length] * images, device)
        ids = torch.tensor(prompt, device=device).repeat(images)
        layers, heads, width = self.text.cache_shape
        cache = embeds.new_empty((layers, 2, images * candidates, heads, length + steps, width))

        def attend(layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            asking, seen, told = (by_image.pad(rows).transpose(1, 2) for rows in (queries, keys, values))
            cache[layer, 0, :, :, :length] = seen.repeat_interleave(candidates, dim=0)
            cache[layer, 1, :, :, :length] = told.repeat_interleave(candidates, dim=0)
            return by_image.flatten(scaled_dot_product_attention(asking, seen, told, is_causal=True).transpose(1, 2))

        keys = self.text.look(embeds)
        hidden = self.text(ids, by_image.place, attend, keys, by_image)
        logits = self.logits(torch.unflatten(hidden, 0, (images, length))[:, -1])
        return Reading(self, keys, cache, [candidates] * images, length), logits.repeat_interleave(candidates, dim=0)

    def logits(self, hidden: Tensor) -> Tensor:
        """Of the next token: hidden states, (rows, width), to (rows, vocabulary), float32."""
        logits: Tensor = self.head(hidden)
        return logits.float()


class Reading:
    """A decoder in the middle of its texts: one row per text, all of them of the same length."""

    def __init__(
        self, decoder: Decoder, images: list[ImageKeys], cache: Tensor, rows_of_image: list[int], length: int
    ) -> None:
        self._decoder = decoder
        self._images = images
        self._cache = cache
        self._rows_of_image = rows_of_image
        self._by_image = Ragged(rows_of_image, cache.device)
        self._length = length

    @torch.inference_mode()
    def read(self, ids: Tensor) -> Tensor:
        """Read one token more in every row; returns the next logits, (rows, vocabulary), float32.

        Args:
            ids: (rows,), int64.
        """
        now, until = self._length, self._length + 1

        def attend(layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            self._cache[layer, 0, :, :, now], self._cache[layer, 1, :, :, now] = keys, values
            seen, told = self._cache[layer, ..., :until, :]
            return scaled_dot_product_attention(queries[:, :, None], seen, told)[:, :, 0]

        places = torch.full_like(ids, now)
        hidden = self._decoder.text(ids, places, attend, self._images, self._by_image)
        self._length = until
        return self._decoder.logits(hidden)

    @torch.inference_mode()
    def keep(self, rows: list[int]) -> None:
        """Go on with these rows, given image by image (a row may come twice), and the images that still have one."""
        sizes = torch.tensor(self._rows_of_image)
        image_of = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
        left: list[int] = image_of[rows].bincount(minlength=len(sizes)).tolist()
        self._cache = self._cache[:, :, torch.tensor(rows, device=self._cache.device)]
        kept = [image for image, size in enumerate(left) if size]
        if 2 * len(kept) <= len(left):  # their keys are large: they move only when that frees half of them
            index = torch.tensor(kept, device=self._cache.device)
            self._images = [(keys[index], values[index]) for keys, values in self._images]
            left = [left[image] for image in kept]
        self._rows_of_image = left
        self._by_image = Ragged(left, self._cache.device)


@torch.inference_mode()
def sample(decoder: Writer, embeds: Tensor, prompt: Prompt, uniforms: Tensor, sampling: Sampling) -> Drawn:
    """Draw captions until each has ended or has `max_length` tokens.

    Args:
        decoder: BLIP's text decoder, or another model that writes.
        embeds: what it looks at, (images, rows, width), in the decoder's number format.
        prompt: what every caption begins with.
        uniforms: (images, candidates, at least max_length), float64, on the decoder's device.
        sampling: how to draw.
    """
    images, candidates = uniforms.shape[:2]
    numbers = uniforms.flatten(0, 1)
    reading, logits = decoder.read_prompt(embeds, prompt.tokens, candidates, sampling.max_length)
    tokens = torch.full((len(numbers), sampling.max_length), prompt.pad, device=embeds.device)
    logprobs = torch.zeros(len(numbers), device=embeds.device)
    opening = torch.tensor([prompt.tokens], device=embeds.device)
    active = torch.arange(len(numbers), device=embeds.device)  # the rows of `tokens` that are still read
    ended = torch.zeros_like(active, dtype=torch.bool)
    every = RETIRE_EVERY.get(embeds.device.type, 1)
    for step in range(sampling.max_length):
        if step > 0:
            logits = reading.read(tokens[active, step - 1])
        seen = torch.cat([opening.expand(len(active), -1), tokens[active, :step]], dim=1)
        ruled_out = prompt.end if step < sampling.min_length else None
        drawn, logprob = draw_next(logits, seen, numbers[active, step], sampling, ruled_out)
        tokens[active, step] = torch.where(ended, prompt.pad, drawn)
        logprobs[active] += torch.where(ended, 0.0, logprob)
        ended |= drawn == prompt.end
        if step % every == 0:
            running = (~ended).nonzero()[:, 0].tolist()
            if not running:
                break
            if len(running) < len(active):
                reading.keep(running)
                active, ended = active[running], ended[running]
    texts = tokens[:, : step + 1]
    return Drawn(texts.reshape(images, candidates, -1), logprobs.reshape(images, candidates))
