"""BLIP's fine-tuning for retrieval, which makes the filter: ITC and ITM with image ids (BLIP's blip_retrieval.py)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from stages.models.blip.trainable.config import BlipConfig
from stages.models.blip.trainable.contrast import Compared, Contrast
from stages.models.blip.trainable.losses import Matched, draw, retrieval_weights
from stages.models.blip.trainable.matching import Negatives, Pool, Sighted, match_pairs
from stages.models.blip.trainable.reading import Seen
from stages.models.blip.trainable.texts import Texts
from stages.training.gather import fetch_with_gradient, gather, is_alone, rank

NOBODY = -100
"""The id of places in the queue that nothing has filled yet."""


class RetrievalBatch(NamedTuple):
    """A worker's part of one step."""

    images: Tensor
    """(batch, 3, image size, image size), normalised; or a frozen tower's tokens, as in pretraining."""
    texts: Texts
    """Of each image one; begins with [CLS] and ends with [SEP]."""
    ids: Tensor
    """(batch,), int64, not negative: a number that equal images have in common, in all steps."""
    uniforms: Tensor
    """(2, batch), float64, in [0, 1): to draw every image's wrong text and every text's wrong image with."""
    alpha: float
    """The share of the slow copies in ITC's targets; see `alpha_at`."""


class RetrievalLosses(NamedTuple):
    """Scalars."""

    loss: Tensor
    """The sum of both, to be differentiated."""
    itc: Tensor
    itm: Tensor
    itm_accuracy: Tensor


class Retrieval(Contrast):
    """BLIP without a decoder; the names of its weights are those of the published retrieval checkpoints."""

    idx_queue: Tensor

    def __init__(self, config: BlipConfig, *, across_workers: bool = True) -> None:
        """Build it.

        Args:
            config: sizes; `sharing` has no meaning here.
            across_workers: whether negatives are drawn from the whole batch of all workers, as BLIP does on COCO, or
                from a worker's own part, as on Flickr30k.
        """
        super().__init__(config, pointer="ptr_queue")
        self.register_buffer("idx_queue", torch.full((1, config.queue), NOBODY))
        self._across = across_workers

    def forward(self, batch: RetrievalBatch) -> RetrievalLosses:
        """The losses of a worker's part."""
        compared = self.contrast(batch)
        matched = self.match(batch, compared, self.text_encoder.look(compared.embeds))
        return RetrievalLosses(compared.loss + matched.loss, compared.loss, matched.loss, matched.accuracy)

    def contrast(self, batch: RetrievalBatch) -> Compared:
        """ITC, whose hard targets are spread evenly over all columns of the same image."""
        columns = torch.cat([batch.ids[None], self.idx_queue], dim=1)
        same = (batch.ids[:, None] == columns).to(self.image_queue.dtype)
        compared = self.compare(batch.images, batch.texts, same / same.sum(dim=1, keepdim=True), batch.alpha)
        self.idx_queue.index_copy_(1, compared.places, gather(batch.ids)[None])
        return compared

    def match(self, batch: RetrievalBatch, compared: Compared, seen: Seen) -> Matched:
        """ITM with negatives drawn by the trained embeddings; none is of the same image."""
        across = self._across and not is_alone()
        everybodys = gather if across else _own
        images, texts = everybodys(compared.images.detach()), everybodys(compared.texts.detach())
        same = batch.ids[:, None] == everybodys(batch.ids)[None]
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            ways = compared.images @ texts.T / self.temp, compared.texts @ images.T / self.temp
        drawn = [draw(retrieval_weights(way, same), row) for way, row in zip(ways, batch.uniforms, strict=True)]
        negatives = Negatives(*drawn[0], *drawn[1])
        read = batch.texts.begin_with(self.look)
        pool = Pool(read.everybodys(), rank() * len(read.lengths)) if across else Pool(read, 0)
        wrong = self._look_across(compared.embeds, negatives.images) if across else seen.pick(negatives.images)
        return match_pairs(self.text_encoder, self.itm_head, pool, negatives, Sighted(seen, wrong))

    def _look_across(self, embeds: Tensor, wrong: Tensor) -> Seen:
        """Wrong images of any worker; only those that are wanted travel."""
        return self.text_encoder.look(fetch_with_gradient(embeds, wrong))


def _own(part: Tensor) -> Tensor:
    return part
