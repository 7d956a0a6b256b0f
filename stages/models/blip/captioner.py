"""BLIP's captioner: pixels and random numbers in, captions out."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import BlipForConditionalGeneration

from stages.contract import Dtype
from stages.errors import UserError
from stages.models.blip.checkpoint import Blip, load_blip
from stages.models.blip.decoding import Decoder, Prompt
from stages.models.blip.sampling import Sampling
from stages.models.blip.vision import BlipVision
from stages.models.blip.writing import write
from stages.models.family import Caption, ModelName
from stages.models.source import Source

PROMPT = "a picture of "
"""What BLIP's captions begin with (its configs/caption_coco.yaml)."""


class Captioner:
    """Draws captions for preprocessed images. The images are encoded once, whatever the number of candidates."""

    def __init__(self, blip: Blip[BlipForConditionalGeneration], prompt: Prompt, sampling: Sampling) -> None:
        self._tokenizer = blip.tokenizer
        self._vision = BlipVision(blip.model.vision_model)
        self._decoder = Decoder(blip.model.text_decoder)
        self._sampling = sampling
        self._prompt = prompt
        self._spoken_prompt = self._text(self._prompt.tokens)
        self.preprocess = blip.preprocess

    def caption(self, pixels: Tensor, uniforms: NDArray[np.float64]) -> list[list[Caption] | None]:
        """Write captions, `uniforms.shape[1]` for each image; with beams the numbers themselves are not used.

        Args:
            pixels: (images, 3, height, width), from `preprocess`; or (images, tokens, width) that the tower has made of
                them before.
            uniforms: (images, candidates, max_length), float64 in [0, 1).

        Returns:
            The captions of each image; None where the model's numbers for it are not finite.
        """
        embeds = pixels if pixels.ndim == 3 else self._vision(pixels)
        numbers = torch.from_numpy(uniforms).to(embeds.device)
        drawn = write(self._decoder, embeds, self._prompt, numbers, self._sampling)
        found = zip(drawn.tokens.tolist(), drawn.logprobs.tolist(), strict=True)
        return [self._read(rows, logprobs) if all(map(math.isfinite, logprobs)) else None for rows, logprobs in found]

    def _read(self, rows: list[list[int]], logprobs: list[float]) -> list[Caption]:
        """The captions of one image."""
        return [Caption(self._strip_prompt(row), logprob) for row, logprob in zip(rows, logprobs, strict=True)]

    def _strip_prompt(self, drawn: list[int]) -> str:
        """The text of drawn tokens, decoded behind the prompt so that a word piece joins what it continues."""
        return self._text(self._prompt.tokens + drawn).removeprefix(self._spoken_prompt).strip()

    def _text(self, tokens: list[int]) -> str:
        text = self._tokenizer.decode(tokens, skip_special_tokens=True)
        assert isinstance(text, str)  # a list is decoded to one text
        return text.strip()


def load_captioner(
    name: ModelName, prompt: str | None, sampling: Sampling, dtype: Dtype, device: torch.device
) -> Captioner:
    """Load a BLIP captioner; without a prompt it has BLIP's own.

    Raises:
        UserError: there is no such model, or the captions asked for are longer than it can write.
    """
    source = name.source()
    blip = load_blip(BlipForConditionalGeneration, source, "a BLIP captioner", dtype, device)
    limit = blip.text_config.max_position_embeddings
    opening = _encode_prompt(blip, PROMPT if prompt is None else prompt, source)
    length = len(opening.tokens) + sampling.max_length - 1  # the last token that is drawn is not read again
    if length > limit:
        raise UserError(
            f"{name.beside('max_length')}: {sampling.max_length} tokens behind the prompt's {len(opening.tokens)} "
            f"are more than the model's {limit} positions; shorten one of them"
        )
    return Captioner(blip, opening, sampling)


def _encode_prompt(blip: Blip[BlipForConditionalGeneration], prompt: str, source: Source) -> Prompt:
    """[DEC] in the place of [CLS], and no [SEP]: what the decoder was trained to continue (BLIP's models/blip.py)."""
    config = blip.text_config
    given, known = (config.bos_token_id, config.sep_token_id, config.pad_token_id), range(config.vocab_size)
    begin, end, pad = (mark if mark in known else None for mark in given)
    if begin is None or end is None or pad is None:
        raise UserError(
            f"{source.key}: '{source.location}' gives no bos, sep and pad_token_id among its {len(known):,} tokens, "
            f"but {given}; correct text_config in its config.json"
        )
    ids: list[int] = blip.tokenizer(prompt, add_special_tokens=False)["input_ids"]
    return Prompt([begin, *ids], end=end, pad=pad)
