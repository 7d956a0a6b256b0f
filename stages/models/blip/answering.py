"""BLIP's answers to questions about images: the best of a list, or written freely (BLIP's models/blip_vqa.py)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from transformers.models.blip.configuration_blip import BlipTextConfig
from transformers.models.blip.modeling_blip_text import BlipTextLMHeadModel

from stages.contract import Dtype
from stages.errors import UserError
from stages.models.blip.answer_list import FILE, read_answers
from stages.models.blip.beam import search
from stages.models.blip.decoding import Decoder, Prompt
from stages.models.blip.description import TextStack
from stages.models.blip.reading import read_blip
from stages.models.blip.sampling import Sampling
from stages.models.blip.text import clean_question
from stages.models.blip.trainable.config import BlipConfig
from stages.models.blip.trainable.loading import load
from stages.models.blip.trainable.published import text_config, vision_config
from stages.models.blip.trainable.texts import Texts
from stages.models.blip.trainable.tokens import BERT, BlipTokens
from stages.models.blip.trainable.vqa import Vqa
from stages.models.device import autocast
from stages.models.family import ModelName
from stages.models.vision.tower import View
from stages.training.view import blip_view


@dataclass(frozen=True)
class Answering:
    """How answers are found."""

    rank: bool
    """Whether one of a list is chosen; else it is written freely."""
    answer_list: str | None
    """The list's file; None for that beside the model."""
    top_k: int
    """Answers of the list that are compared as a whole."""
    beams: int
    max_length: int
    """Tokens of a free answer behind [DEC], the end token among them."""
    min_length: int
    """So many tokens come before a free answer may end."""
    max_text_tokens: int
    """Of a question."""
    max_words: int
    """Of a question, before."""


class Loaded(NamedTuple):
    """A model that answers, on the CPU."""

    model: Vqa
    tokens: BlipTokens
    view: View
    text: TextStack
    """Its decoder's sizes."""


class BlipAnswerer:
    """Answers questions about images that were encoded once."""

    def __init__(self, loaded: Loaded, how: Answering, dtype: Dtype, device: torch.device) -> None:
        self.preprocess = loaded.view.preprocess
        self._model = loaded.model.to(device).eval()
        self._tokens = loaded.tokens
        self._how = how
        self._dtype = dtype
        self._device = device

    def encode(self, pixels: Tensor) -> Tensor:
        """See `family.Answerer`."""
        with torch.inference_mode(), autocast(self._dtype, self._device):
            features: Tensor = self._model.visual_encoder(pixels.to(self._device))
        return features

    def _read(self, questions: Sequence[str]) -> Texts:
        cleaned = [clean_question(question, self._how.max_words) for question in questions]
        return self._tokens(cleaned).to(self._device)


class Ranking(BlipAnswerer):
    """Chooses from a list."""

    def __init__(
        self, loaded: Loaded, how: Answering, dtype: Dtype, device: torch.device, answers: Sequence[str]
    ) -> None:
        super().__init__(loaded, how, dtype, device)
        self._answers = answers
        self._choices = loaded.tokens(answers, loaded.text.positions).to(device)

    def answer(self, features: Tensor, questions: Sequence[str]) -> list[str | None]:
        """See `family.Answerer`."""
        with torch.inference_mode(), autocast(self._dtype, self._device):
            found = self._model.likeliest(features, self._read(questions), self._choices, self._how.top_k)
        chosen, losses = (each.tolist() for each in found)
        finite = torch.tensor(losses).isfinite().tolist()
        return [self._answers[one] if is_finite else None for one, is_finite in zip(chosen, finite, strict=True)]


class Writing(BlipAnswerer):
    """Writes answers, by a beam search; questions of as many tokens are answered together, so that none is padded."""

    def __init__(self, loaded: Loaded, how: Answering, dtype: Dtype, device: torch.device) -> None:
        super().__init__(loaded, how, dtype, device)
        self._decoder = Decoder(_decoder(loaded)).to(device).eval()
        end, pad = loaded.tokens.tokenizer.sep_token_id, loaded.tokens.tokenizer.pad_token_id
        assert isinstance(end, int)
        assert isinstance(pad, int)
        self._prompt = Prompt([loaded.tokens.start], end=end, pad=pad)
        self._sampling = Sampling(1.0, None, 1.0, 1.0, how.max_length, how.min_length, how.beams)

    def answer(self, features: Tensor, questions: Sequence[str]) -> list[str | None]:
        """See `family.Answerer`."""
        read = self._read(questions)
        found: list[str | None] = [None] * len(questions)
        with torch.inference_mode(), autocast(self._dtype, self._device):
            rows = torch.split(self._model.read(features, read), list(read.lengths))
            for which in _alike(read.lengths):
                best = search(self._decoder, torch.stack([rows[one] for one in which]), self._prompt, self._sampling)
                for one, tokens, logprob in zip(which, best.tokens[:, 0], best.logprobs[:, 0], strict=True):
                    if logprob.isfinite():
                        found[one] = str(self._tokens.tokenizer.decode(tokens.tolist(), skip_special_tokens=True))
        return found


def _alike(lengths: Sequence[int]) -> list[list[int]]:
    """The numbers of the texts of each length."""
    found: dict[int, list[int]] = defaultdict(list)
    for number, length in enumerate(lengths):
        found[length].append(number)
    return list(found.values())


def _decoder(loaded: Loaded) -> BlipTextLMHeadModel:
    """The same decoder as transformers', which the beam search reads; it looks at questions, of whatever width."""
    text = loaded.text
    config = BlipTextConfig(
        vocab_size=text.vocabulary,
        hidden_size=text.width,
        encoder_hidden_size=text.source_width,
        intermediate_size=text.inner,
        num_hidden_layers=text.layers,
        num_attention_heads=text.heads,
        max_position_embeddings=text.positions,
        layer_norm_eps=text.epsilon,
    )
    decoder = BlipTextLMHeadModel(config)
    state = loaded.model.text_decoder.state_dict()
    missing = decoder.load_state_dict(state, strict=False).missing_keys
    assert not [name for name in missing if not name.endswith("position_ids")]
    return decoder


def load_answerer(name: ModelName, how: Answering, dtype: Dtype, device: torch.device) -> BlipAnswerer:
    """Load a BLIP that answers.

    Raises:
        UserError: there is no such model, it is broken, or there is no list of answers to choose from.
    """
    loaded = _load(name, how)
    if not how.rank:
        return Writing(loaded, how, dtype, device)
    return Ranking(loaded, how, dtype, device, _answers(name, how))


def _load(name: ModelName, how: Answering) -> Loaded:
    read = read_blip(name.model, name.revision, name.key)
    description = read.description
    tokens = BlipTokens(read.tokenizer or BERT, name.revision, how.max_text_tokens, name.key)
    text = replace(text_config(description), start=tokens.start, look=tokens.look)
    model = Vqa(BlipConfig(vision=vision_config(description), text=text))
    if random := load(model, read.state, name.key).random:
        lacking = f"{len(random)} weight(s) of a model that answers, {random[0]} first"
        raise UserError(f"{name.key}: '{name.model}' lacks {lacking}")
    vision = description.vision
    return Loaded(model, tokens, blip_view(vision.image_size, vision.mean, vision.std), description.text)


def _answers(name: ModelName, how: Answering) -> Sequence[str]:
    key = name.beside("answer_list")
    if how.answer_list is not None:
        return read_answers(Path(how.answer_list), key)
    beside = Path(name.model).expanduser() / FILE
    if not beside.is_file():
        raise UserError(
            f"{key}: '{name.model}' has no {FILE} to choose answers from; name one here, such as BLIP's, or set "
            f"{name.beside('decode')} to free"
        )
    return read_answers(beside, key)
