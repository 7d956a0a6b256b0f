"""BLIP-2's second stage as a captioner: pixels and random numbers in, captions out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from transformers import Blip2ForConditionalGeneration
from transformers.models.auto.image_processing_auto import AutoImageProcessor
from transformers.models.auto.tokenization_auto import AutoTokenizer

from stages.contract import Dtype
from stages.errors import UserError
from stages.models.blip.decoding import Prompt
from stages.models.blip.sampling import Sampling
from stages.models.blip.vision import BlipVision
from stages.models.blip.writing import write
from stages.models.blip2.folder import read_second_stage
from stages.models.blip2.second_stage import SecondStage
from stages.models.blip2.sizes import sizes_of_config
from stages.models.blip2.tower import Tower, load_frozen_tower
from stages.models.device import autocast, torch_dtype
from stages.models.families import load_language_model
from stages.models.family import Caption, ModelName
from stages.models.language.decoder import DecoderModel
from stages.models.language.model import LanguageModel
from stages.models.language.prefix import PrefixModel, check_format
from stages.models.loading import LOADING_ERRORS, quiet
from stages.models.parts import check_pictures, check_weights
from stages.models.preparation import preparation
from stages.models.qformer.names import from_transformers
from stages.models.source import Source


@dataclass(frozen=True)
class Parts:
    """A BLIP-2 of the second stage, ready for inference."""

    preprocess: Callable[[Image.Image], Tensor]
    tower: Tower
    model: SecondStage
    language: LanguageModel
    prompt: str
    """What it was trained with."""


class Blip2Captioner:
    """Draws captions. An image is encoded once, and its soft prompt read once, whatever the number of candidates."""

    def __init__(self, parts: Parts, prompt: str, sampling: Sampling, dtype: Dtype) -> None:
        opening = parts.language.opening(prompt)
        self._parts = parts
        self._writer = opening.writer
        self._prompt = Prompt(opening.tokens, opening.end, opening.pad)
        self._sampling = sampling
        self._dtype = dtype
        self.preprocess = parts.preprocess

    def caption(self, pixels: Tensor, uniforms: NDArray[np.float64]) -> list[list[Caption] | None]:
        """See `stages.models.family.Captioner`; with beams the numbers themselves are not used."""
        soft = self._soft_prompts(pixels)
        drawn = write(self._writer, soft, self._prompt, torch.from_numpy(uniforms).to(soft.device), self._sampling)
        found = zip(drawn.tokens.tolist(), drawn.logprobs.tolist(), strict=True)
        return [self._read(rows, logprobs) if all(map(math.isfinite, logprobs)) else None for rows, logprobs in found]

    @torch.inference_mode()
    def _soft_prompts(self, pixels: Tensor) -> Tensor:
        """(images, queries, width of the language model)."""
        device = self._parts.model.language_projection.weight.device
        features = self._parts.tower(pixels.to(device))
        with autocast(self._dtype, device):
            soft: Tensor = self._parts.model(features)
        return soft

    def _read(self, rows: list[list[int]], logprobs: list[float]) -> list[Caption]:
        """The captions of one image."""
        text = self._parts.language.text
        return [Caption(text(row), logprob) for row, logprob in zip(rows, logprobs, strict=True)]


def load_trained(
    name: ModelName, prompt: str | None, sampling: Sampling, dtype: Dtype, device: torch.device
) -> Blip2Captioner:
    """Load what `align` has left, and the frozen models that it names.

    Raises:
        UserError: a part is missing or broken, or the captions asked for are longer than it can write.
    """
    source = name.source()
    try:
        trained = read_second_stage(source)
    except LOADING_ERRORS as error:
        raise source.error("a BLIP-2 of the second stage", error) from None
    tower, view = load_frozen_tower(trained.tower, dtype, device)
    language = load_language_model(trained.language, dtype, device)
    parts = Parts(view.preprocess, tower, trained.model.to(device), language, trained.prompt)
    return _captioner(parts, name, prompt, sampling, dtype)


def load_published(
    name: ModelName, prompt: str | None, sampling: Sampling, dtype: Dtype, device: torch.device
) -> Blip2Captioner:
    """Load a folder of transformers' `Blip2ForConditionalGeneration`.

    Raises:
        UserError: as `load_trained`.
    """
    source = name.source()
    blip2, tokenizer, preprocess = _load(source, dtype)
    model = SecondStage(*sizes_of_config(blip2.config, source))
    state = blip2.state_dict()
    own = {f"qformer.{ours}": value for ours, value in from_transformers(state).items()}
    last = {part: value for part, value in state.items() if part.startswith("language_projection.")}
    model.load_state_dict(own | last)
    model.qformer.vision_norm.eps = blip2.config.vision_config.layer_norm_eps  # transformers has one for all the tower
    decodes = blip2.config.use_decoder_only_language_model
    if not decodes:
        check_format(name, dtype)
    llm = blip2.language_model.to(device)
    language: LanguageModel = DecoderModel(llm, tokenizer) if decodes else PrefixModel(llm, tokenizer)
    vision = BlipVision(blip2.vision_model).to(device)
    parts = Parts(preprocess, vision.tokens, model.float().eval().to(device), language, "")
    return _captioner(parts, name, prompt, sampling, dtype)


def _load(source: Source, dtype: Dtype) -> tuple[Any, Any, Callable[[Image.Image], Tensor]]:
    """The model, its tokenizer, and what prepares its pictures."""
    place, revision, kind = source.location, source.revision or "main", "a BLIP-2 captioner"
    try:
        with quiet():
            loaded: Any = Blip2ForConditionalGeneration.from_pretrained(
                place, revision=revision, dtype=torch_dtype(dtype), output_loading_info=True
            )
            tokenizer = AutoTokenizer.from_pretrained(place, revision=revision)
            processor: Any = AutoImageProcessor.from_pretrained(place, revision=revision)
    except LOADING_ERRORS as error:
        raise source.error(kind, error) from None
    model, info = loaded
    check_weights(source, info, kind)
    preprocess, size = preparation(processor), model.config.vision_config.image_size
    check_pictures(source, preprocess, (size, size))
    return model.eval().requires_grad_(requires_grad=False), tokenizer, preprocess


def _captioner(parts: Parts, name: ModelName, prompt: str | None, sampling: Sampling, dtype: Dtype) -> Blip2Captioner:
    captioner = Blip2Captioner(parts, parts.prompt if prompt is None else prompt, sampling, dtype)
    limit, before = parts.language.positions, len(captioner._prompt.tokens)  # noqa: SLF001 - its own module
    length = parts.model.qformer.config.queries + before + sampling.max_length - 1  # the last one is not read again
    if limit is not None and length > limit:
        raise UserError(
            f"{name.beside('max_length')}: {sampling.max_length} tokens behind {length - sampling.max_length + 1} of "
            f"image and prompt are more than the model's {limit} positions; shorten one of them"
        )
    return captioner
