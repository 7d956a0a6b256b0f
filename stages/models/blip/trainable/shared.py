"""A captioner and a matcher in one: the arm of BLIP's ablation whose fine-tuned parts stay shared (table 2.3).

Li et al. 2022, arXiv 2201.12086, section 4.4: it calls fewer captions noise, since it trusts its own.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from stages.models.blip.trainable.config import BlipConfig
from stages.models.blip.trainable.decoder import TextDecoder
from stages.models.blip.trainable.reading import Look
from stages.models.blip.trainable.retrieval import Retrieval, RetrievalBatch
from stages.models.blip.trainable.sharing import shares_sight, tie
from stages.models.blip.trainable.texts import Texts


class SharedBatch(NamedTuple):
    """A worker's part of one step."""

    retrieval: RetrievalBatch
    spoken: Texts
    """The same texts behind the prompt."""

    @property
    def images(self) -> Tensor:
        """See `RetrievalBatch`."""
        return self.retrieval.images


class SharedLosses(NamedTuple):
    """Scalars."""

    loss: Tensor
    """The sum of the three."""
    itc: Tensor
    itm: Tensor
    lm: Tensor
    itm_accuracy: Tensor


class Shared(Retrieval):
    """Retrieval with a decoder that has all but self-attention in common with the encoder."""

    def __init__(self, config: BlipConfig, prompt: int, *, across_workers: bool = True) -> None:
        """Build it.

        Args:
            config: sizes, and what is shared.
            prompt: tokens of the prompt, with [CLS] and without [SEP].
            across_workers: see `Retrieval`.
        """
        super().__init__(config, across_workers=across_workers)
        self.text_decoder = TextDecoder(config.text, config.vision.width)
        tie(self.text_encoder, self.text_decoder.bert, config.sharing)
        self.prompt = prompt
        self._one_sight = shares_sight(config.sharing)

    def forward(self, batch: SharedBatch) -> SharedLosses:  # type: ignore[override]  # its batch holds more
        """The losses of a worker's part."""
        compared = self.contrast(batch.retrieval)
        seen = self.text_encoder.look(compared.embeds)
        matched = self.match(batch.retrieval, compared, seen)
        if not self._one_sight:
            seen = self.text_decoder.bert.look(compared.embeds)
        lm = self.text_decoder(batch.spoken, [Look(seen, [1] * len(batch.spoken.lengths))], self.prompt).mean
        return SharedLosses(compared.loss + matched.loss + lm, compared.loss, matched.loss, lm, matched.accuracy)
