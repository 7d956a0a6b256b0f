"""A captioner and a filter in one model: what the paper compares two apart with (Li et al. 2022, section 5.2).

Encoder and decoder share what they shared in pretraining, and an image is looked at once for both.
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


class BothBatch(NamedTuple):
    """A worker's part of one step."""

    pairs: RetrievalBatch
    captions: Texts
    """The same texts behind the prompt, as for captioning."""


class BothLosses(NamedTuple):
    """Scalars."""

    loss: Tensor
    """The sum of the three, to be differentiated."""
    itc: Tensor
    itm: Tensor
    lm: Tensor
    itm_accuracy: Tensor


class CaptioningRetrieval(Retrieval):
    """All parts; the names of its weights are those of retrieval, and of captioning's decoder."""

    def __init__(self, config: BlipConfig, prompt: int, *, across_workers: bool = True) -> None:
        """Build it; see `Captioning` and `Retrieval`."""
        super().__init__(config, across_workers=across_workers)
        self.text_decoder = TextDecoder(config.text, config.vision.width)
        tie(self.text_encoder, self.text_decoder.bert, config.sharing)
        self.prompt = prompt
        self._one_sight = shares_sight(config.sharing)

    def forward(self, batch: BothBatch) -> BothLosses:  # type: ignore[override]  # it is called as an objective alone
        """The losses of a worker's part."""
        compared = self.contrast(batch.pairs)
        seen = self.text_encoder.look(compared.embeds)
        matched = self.match(batch.pairs, compared, seen)
        if not self._one_sight:
            seen = self.text_decoder.bert.look(compared.embeds)
        lm = self.text_decoder(batch.captions, [Look(seen, [1] * len(batch.captions.lengths))], self.prompt).mean
        loss = compared.loss + matched.loss + lm
        return BothLosses(loss, compared.loss, matched.loss, lm, matched.accuracy)
