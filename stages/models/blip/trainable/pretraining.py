"""BLIP's pretraining: ITC, ITM and LM in one step (Li et al. 2022, arXiv 2201.12086, section 3.2).

A step is a function of the batch and the weights, but for dropout and stochastic depth. As in the original each worker
takes means over its own part and draws negatives within it; only the queue is common to all.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from stages.models.blip.trainable.config import BlipConfig
from stages.models.blip.trainable.contrast import Compared, Contrast
from stages.models.blip.trainable.decoder import TextDecoder
from stages.models.blip.trainable.losses import Matched, draw, pretraining_weights
from stages.models.blip.trainable.matching import Negatives, Pool, Sighted, match_pairs
from stages.models.blip.trainable.reading import Look, Seen
from stages.models.blip.trainable.sharing import shares_sight, tie
from stages.models.blip.trainable.texts import Texts


class PretrainingBatch(NamedTuple):
    """A worker's part of one step."""

    images: Tensor
    """(batch, 3, image size, image size), normalised; or (batch, image tokens, vision width) that a frozen tower has
    made of them."""
    texts: Texts
    """Of each image one; begins with [CLS] and ends with [SEP]."""
    uniforms: Tensor
    """(2, batch), float64, in [0, 1): to draw every image's wrong text and every text's wrong image with."""
    alpha: float
    """The share of the slow copies in ITC's targets; see `alpha_at`."""


class PretrainingLosses(NamedTuple):
    """Scalars."""

    loss: Tensor
    """The weighted sum, to be differentiated."""
    itc: Tensor
    itm: Tensor
    lm: Tensor
    itm_accuracy: Tensor


class LossWeights(NamedTuple):
    """What each loss counts."""

    itc: float = 1.0
    itm: float = 1.0
    lm: float = 1.0


EQUALLY = LossWeights()


class Pretraining(Contrast):
    """BLIP with all its parts; the names of its weights are those of the published pretraining checkpoints."""

    def __init__(self, config: BlipConfig, weights: LossWeights = EQUALLY) -> None:
        super().__init__(config, pointer="queue_ptr")
        self.weights = weights
        self.text_decoder = TextDecoder(config.text, config.vision.width)
        tie(self.text_encoder, self.text_decoder.bert, config.sharing)
        self._one_sight = shares_sight(config.sharing)

    def forward(self, batch: PretrainingBatch) -> PretrainingLosses:
        """The losses of a worker's part."""
        compared = self.compare(batch.images, batch.texts, self._partners(batch), batch.alpha)
        seen = self.text_encoder.look(compared.embeds)
        matched = self._match(batch, compared, seen)
        if not self._one_sight:
            seen = self.text_decoder.bert.look(compared.embeds)
        lm = self.text_decoder(batch.texts, [Look(seen, [1] * len(batch.texts.lengths))]).mean
        total = self.weights.itc * compared.loss + self.weights.itm * matched.loss + self.weights.lm * lm
        return PretrainingLosses(total, compared.loss, matched.loss, lm, matched.accuracy)

    def _partners(self, batch: PretrainingBatch) -> Tensor:
        number = len(batch.images)
        width = number + self.image_queue.shape[1]
        return torch.eye(number, width, dtype=self.image_queue.dtype, device=self.image_queue.device)

    def _match(self, batch: PretrainingBatch, compared: Compared, seen: Seen) -> Matched:
        number = len(batch.images)
        texts, images = (
            draw(pretraining_weights(logits[:, :number]), uniforms)
            for logits, uniforms in zip((compared.image_to_text, compared.text_to_image), batch.uniforms, strict=True)
        )
        negatives = Negatives(*texts, *images)
        pool = Pool(batch.texts.begin_with(self.look), 0)
        return match_pairs(self.text_encoder, self.itm_head, pool, negatives, Sighted(seen, seen.pick(images[0])))
