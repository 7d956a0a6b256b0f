"""BLIP's image-text matching head: the probability that a text describes an image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import BlipForImageTextRetrieval

from stages.errors import UserError
from stages.models.blip import Blip, load_blip
from stages.models.loading import Source
from stages.models.text import clean

MAX_TOKENS = 35
"""Tokens of a text, marks included, that BLIP reads at retrieval time (train_retrieval.py, models/blip_itm.py)."""
PUBLISHED_ENC = 30523
"""[ENC] in the published checkpoints, whose tokenizer files do not list it."""


class ItmScorer:
    """Matches cleaned texts with images; a `stages.models.scoring.Scorer`.

    The text encoder is told that it is to look at the image by [ENC] in the place of [CLS]: transformers leaves [CLS]
    there, which the matching head was not trained on and which gives other scores (transformers issue 25629).
    """

    def __init__(self, blip: Blip[BlipForImageTextRetrieval], enc: int) -> None:
        self._blip = blip
        self._enc = enc
        self.preprocess = blip.preprocess

    def prepare(self, text: str) -> str:
        """BLIP's cleaning, which leaves "" of a text without a word; that is scored like any other."""
        return clean(text)

    @torch.inference_mode()
    def score(self, pixels: Tensor, texts: Sequence[Sequence[str]]) -> list[list[float]]:
        """The probability of "match", in [0, 1], of every text of every image."""
        model = self._blip.model
        embeds = model.vision_model(pixels.to(model.device, model.dtype)).last_hidden_state
        # One image at a time: its keys and values are then computed once and broadcast over its texts, and no padding
        # depends on other images.
        return [
            self._score_image(embed, of_image) if of_image else []
            for embed, of_image in zip(embeds.split(1), texts, strict=True)
        ]

    def _score_image(self, embed: Tensor, texts: Sequence[str]) -> list[float]:
        model = self._blip.model
        tokens = self._blip.tokenizer(
            list(texts), padding="longest", truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        ).to(model.device)
        ids = tokens["input_ids"]
        ids[:, 0] = self._enc
        output = model.text_encoder(input_ids=ids, attention_mask=tokens["attention_mask"], encoder_hidden_states=embed)
        logits = model.itm_head(output.last_hidden_state[:, 0])
        scores: list[float] = logits.float().softmax(dim=-1)[:, 1].tolist()  # index 1 is "match"
        return scores


def load_itm(source: Source, *, dtype: torch.dtype, device: torch.device) -> ItmScorer:
    """Load a BLIP matching model.

    Raises:
        UserError: there is no such model, or it has no [ENC] token.
    """
    blip = load_blip(BlipForImageTextRetrieval, source, kind="a BLIP matching model", dtype=dtype, device=device)
    return ItmScorer(blip, _find_enc(blip, source))


def _find_enc(blip: Blip[BlipForImageTextRetrieval], source: Source) -> int:
    enc: int = blip.tokenizer.get_vocab().get("[ENC]", PUBLISHED_ENC)
    if enc >= blip.text_config.vocab_size:
        raise UserError(
            f"{source.key}: '{source.location}' has no [ENC] token, neither in its tokenizer "
            f"nor at {PUBLISHED_ENC} as in the published models; its matching scores would mean nothing"
        )
    return enc
