"""One step's loss: the Q-Former's passes, and what is compared with what.

In-batch negatives only, over the whole batch of all workers; no queue and no momentum model, as in BLIP-2.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from stages.models.qformer import QFormer, Text
from stages.pretrain.gather import fetch, gather, gather_with_gradient, mean
from stages.pretrain.losses import IGNORED, contrastive, draw_negatives, matching, next_word, similarities


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
    number: int
    """Of the batch in the training, from 0."""


class Losses(NamedTuple):
    """What a step is judged by; scalars."""

    itc: Tensor
    itm: Tensor
    itg: Tensor
    itm_accuracy: Tensor

    @property
    def total(self) -> Tensor:
        """All three count alike."""
        return self.itc + self.itm + self.itg


class Objective(nn.Module):
    """The three losses in one call, so that DDP sees every parameter used once per step."""

    def __init__(self, model: QFormer, start: int) -> None:
        super().__init__()
        self.model = model
        self.start = start
        """The token that a caption begins with when it is to be written."""

    def forward(self, batch: Batch) -> Losses:
        """The losses of a worker's part; their mean over the workers is the loss of the whole batch."""
        text = batch.text
        spoken = Text(text.ids.clone(), text.real)
        spoken.ids[:, 0] = self.start
        queries, words = self.model.caption(batch.features, spoken)
        images = self.model.embed_image(queries)
        texts = self.model.embed_text(self.model.encode_text(text))
        image_to_text = similarities(images, gather_with_gradient(texts)) / self.model.temperature
        text_to_image = similarities(gather_with_gradient(images), texts).T / self.model.temperature
        same = batch.images[:, None] == gather(batch.images)[None, :]
        itm, accuracy = self._match(batch, image_to_text, text_to_image, same)
        return Losses(
            _both_ways(image_to_text, text_to_image, same, batch.first),
            itm,
            next_word(words, spoken.ids, spoken.real, mean(spoken.real[:, 1:].sum().double())),
            accuracy,
        )

    def _match(self, batch: Batch, image_to_text: Tensor, text_to_image: Tensor, same: Tensor) -> tuple[Tensor, Tensor]:
        """Right pairs, right images with wrong texts, wrong images with right texts."""
        wrong_texts, found = draw_negatives(image_to_text, same, batch.uniforms[0])
        wrong_images, _ = draw_negatives(text_to_image, same, batch.uniforms[1])
        text, features = batch.text, batch.features
        read = Text(
            torch.cat([text.ids, gather(text.ids)[wrong_texts], text.ids]),
            torch.cat([text.real, gather(text.real)[wrong_texts], text.real]),
        )
        logits = self.model.match(torch.cat([features, features, fetch(features, wrong_images)]), read)
        wrong = torch.zeros_like(batch.images).masked_fill(~found, IGNORED)
        labels = torch.cat([torch.ones_like(wrong), wrong, wrong])
        return matching(logits, labels, mean((labels != IGNORED).sum().double()))


def _both_ways(image_to_text: Tensor, text_to_image: Tensor, same: Tensor, first: int) -> Tensor:
    """ITC: the mean of finding the text of an image and the image of a text."""
    partners = torch.arange(first, first + len(same), device=same.device)
    repeated = same.scatter(1, partners[:, None], value=False)
    ways = [contrastive(logits, partners, repeated) for logits in (image_to_text, text_to_image)]
    return torch.stack(ways).mean()
