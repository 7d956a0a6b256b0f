"""One step's loss: the Q-Former's passes, and what is compared with what.

In-batch negatives only, over the whole batch of all workers; no queue and no momentum model, as in BLIP-2.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from stages.models.qformer.model import QFormer, Seen, Text, similarities
from stages.pretrain.losses import IGNORED, contrastive, draw_negatives, matching, next_word
from stages.training.gather import fetch, gather, gather_with_gradient, is_alone, maximum, mean


class Batch(NamedTuple):
    """A worker's part of one step."""

    features: Tensor
    """(batch, image tokens, vision width), of the frozen tower."""
    text: Text
    images: Tensor
    """(batch,), int64: a number that equal images have in common."""
    uniforms: Tensor
    """(2, batch, all), in [0, 1): to draw every image's wrong text and every text's wrong image with."""
    first: int
    """Where this worker's images begin in the batch."""


class Losses(NamedTuple):
    """What a step is judged by; scalars."""

    loss: Tensor
    """Their weighted sum."""
    itc: Tensor
    itm: Tensor
    itg: Tensor
    itm_accuracy: Tensor


class LossWeights(NamedTuple):
    """What each loss counts."""

    itc: float = 1.0
    itm: float = 1.0
    itg: float = 1.0


EQUALLY = LossWeights()


class Ways(NamedTuple):
    """Both directions of comparison: this worker's part against everybody's."""

    image_to_text: Tensor
    """(batch, all): similarities over the temperature."""
    text_to_image: Tensor
    """(batch, all)."""
    same: Tensor
    """(batch, all), bool: whether it is the same image, a row's own partner included."""


class Objective(nn.Module):
    """The three losses in one call, so that DDP sees every parameter used once per step."""

    def __init__(self, model: QFormer, start: int, weights: LossWeights = EQUALLY) -> None:
        super().__init__()
        self.model = model
        self.start = start
        """The token that a caption begins with when it is to be written."""
        self.weights = weights

    def forward(self, batch: Batch) -> Losses:
        """The losses of a worker's part; their mean over the workers is the loss of the whole batch."""
        batch = batch._replace(text=batch.text.cut(int(maximum(batch.text.longest))))
        seen = self.model.look(batch.features)
        spoken = Text(batch.text.ids.index_fill(1, batch.text.ids.new_zeros(1), self.start), batch.text.real)
        queries, words = self.model.caption(seen, spoken)
        ways = self._compare(batch, queries)
        itm, accuracy = self._match(batch, seen, ways)
        predicted = mean(spoken.real[:, 1:].sum().double())
        itc, itg = _contrast(ways, batch.first), next_word(words, *spoken, predicted)
        total = self.weights.itc * itc + self.weights.itm * itm + self.weights.itg * itg
        return Losses(total, itc, itm, itg, accuracy)

    def _compare(self, batch: Batch, queries: Tensor) -> Ways:
        images = self.model.embed_image(queries)
        texts = self.model.embed_text(self.model.encode_text(batch.text))
        return Ways(
            similarities(images, gather_with_gradient(texts)) / self.model.temperature,
            similarities(gather_with_gradient(images), texts).T / self.model.temperature,
            batch.images[:, None] == gather(batch.images)[None, :],
        )

    def _match(self, batch: Batch, seen: Seen, ways: Ways) -> tuple[Tensor, Tensor]:
        """Right pairs, right images with wrong texts, wrong images with right texts."""
        wrong_texts, found = draw_negatives(ways.image_to_text, ways.same, batch.uniforms[0])
        wrong_images, _ = draw_negatives(ways.text_to_image, ways.same, batch.uniforms[1])
        ids, real = batch.text
        read = Text(torch.cat([ids, gather(ids)[wrong_texts], ids]), torch.cat([real, gather(real)[wrong_texts], real]))
        logits = self.model.match(self._look_again(batch.features, seen, wrong_images), read)
        wrong = torch.zeros_like(batch.images).masked_fill(~found, IGNORED)
        labels = torch.cat([torch.ones_like(wrong), wrong, wrong])
        return matching(logits, labels, mean((labels != IGNORED).sum().double()))

    def _look_again(self, features: Tensor, seen: Seen, wrong_images: Tensor) -> Seen:
        """The own images twice, then wrong ones; those of other workers have not been looked at yet."""
        own = torch.arange(len(features), device=features.device)
        if is_alone():
            return seen.pick(torch.cat([own, own, wrong_images]))
        return seen.pick(torch.cat([own, own])).join(self.model.look(fetch(features, wrong_images)))


def _contrast(ways: Ways, first: int) -> Tensor:
    """ITC: the mean of finding the text of an image and the image of a text."""
    partners = torch.arange(first, first + len(ways.same), device=ways.same.device)
    repeated = ways.same.scatter(1, partners[:, None], value=False)
    both = [contrastive(logits, partners, repeated) for logits in (ways.image_to_text, ways.text_to_image)]
    return torch.stack(both).mean()
