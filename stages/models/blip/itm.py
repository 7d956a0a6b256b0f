"""BLIP's image-text matching head: the probability that a text describes an image."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor
from transformers import BlipForImageTextRetrieval

from stages.contract import Dtype
from stages.errors import UserError
from stages.models.blip.checkpoint import Blip, load_blip
from stages.models.blip.med import ImageKeys, Med, within_texts
from stages.models.blip.text import clean
from stages.models.blip.vision import BlipVision
from stages.models.family import ModelName
from stages.models.matching import match_probabilities
from stages.models.ragged import Ragged
from stages.models.source import Source

MAX_TOKENS = 35
"""Tokens of a text, marks included, that BLIP reads at retrieval time (train_retrieval.py, models/blip_itm.py)."""
PUBLISHED_ENC = 30523
"""[ENC] in the published checkpoints, whose tokenizer files do not list it."""


class ItmScorer:
    """Matches cleaned texts with images.

    The text encoder is told that it is to look at the image by [ENC] in the place of [CLS]: transformers leaves [CLS]
    there, which the matching head was not trained on and which gives other scores (transformers issue 25629).
    """

    def __init__(self, blip: Blip[BlipForImageTextRetrieval], enc: int) -> None:
        self._tokenizer = blip.tokenizer
        self._vision = BlipVision(blip.model.vision_model)
        self._text = Med(blip.model.text_encoder)
        self._head = blip.model.itm_head
        self._enc = enc
        self._most_tokens = min(MAX_TOKENS, blip.text_config.max_position_embeddings)
        self.preprocess = blip.preprocess

    def prepare(self, text: str) -> str:
        """BLIP's cleaning, which leaves "" of a text without a word; that is scored like any other."""
        return clean(text)

    @torch.inference_mode()
    def score(self, pixels: Tensor, texts: Sequence[Sequence[str]]) -> list[list[float]]:
        """The probability of "match", in [0, 1], of every text of every image; NaN where a logit is not finite."""
        return match_probabilities(self.logits, pixels, texts)

    @torch.inference_mode()
    def logits(self, pixels: Tensor, texts: Sequence[Sequence[str]]) -> Tensor:
        """The matching head's logits of all texts, one image's after the other's: (texts, 2), float32.

        Every image must have a text.
        """
        embeds = self._vision(pixels)
        said = list(chain.from_iterable(texts))
        tokens = self._tokenizer(said, truncation=True, max_length=self._most_tokens)["input_ids"]
        lengths = [len(ids) for ids in tokens]
        of_image = iter(lengths)
        by_text = Ragged(lengths, embeds.device)
        by_image = Ragged([sum(next(of_image) for _ in of_one) for of_one in texts], embeds.device)
        ids = torch.tensor([id_ for of_text in tokens for id_ in of_text], device=embeds.device)
        return self._judge(ids, by_text, self._text.look(embeds), by_image)

    def _judge(self, ids: Tensor, by_text: Ragged, images: Sequence[ImageKeys], by_image: Ragged) -> Tensor:
        """The logits of texts without padding, whose first token is replaced: (texts, 2), float32."""
        asked = torch.where(by_text.place == 0, self._enc, ids)
        hidden = self._text(asked, by_text.place, within_texts(by_text), images, by_image)
        logits: Tensor = self._head(hidden[by_text.place == 0])
        return logits.float()


def load_itm(name: ModelName, dtype: Dtype, device: torch.device) -> ItmScorer:
    """Load a BLIP matching model.

    Raises:
        UserError: there is no such model, or it has no [ENC] token.
    """
    return ItmScorer(*load_parts(name, dtype, device))


def load_parts(name: ModelName, dtype: Dtype, device: torch.device) -> tuple[Blip[BlipForImageTextRetrieval], int]:
    """The checkpoint, and its [ENC].

    Raises:
        UserError: there is no such model, or it has no [ENC] token.
    """
    source = name.source()
    blip = load_blip(BlipForImageTextRetrieval, source, "a BLIP matching model", dtype, device)
    return blip, _find_enc(blip, source)


def _find_enc(blip: Blip[BlipForImageTextRetrieval], source: Source) -> int:
    enc: int = blip.tokenizer.get_vocab().get("[ENC]", PUBLISHED_ENC)
    if enc >= blip.text_config.vocab_size:
        raise UserError(
            f"{source.key}: '{source.location}' has no [ENC] token, neither in its tokenizer "
            f"nor at {PUBLISHED_ENC} as in the published models; its matching scores would mean nothing"
        )
    return enc
