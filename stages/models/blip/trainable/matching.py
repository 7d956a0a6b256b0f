"""ITM's pairs: every image with its own text, with a wrong text, and every text with a wrong image.

Each image is looked at by two texts that stand side by side, its own and the wrong one, so that its keys and values are
used as they are; only for the wrong images are they picked.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from stages.models.blip.trainable.losses import IGNORED, Matched, match
from stages.models.blip.trainable.reading import Look, Seen
from stages.models.blip.trainable.stack import TextStack
from stages.models.blip.trainable.texts import Texts


class Negatives(NamedTuple):
    """Wrong partners of this worker's part of the batch, and whether there was one to draw."""

    texts: Tensor
    """(batch,), int64: for each image the number of a text of the pool."""
    has_text: Tensor
    """(batch,), bool."""
    images: Tensor
    """(batch,), int64: for each text the number of an image."""
    has_image: Tensor
    """(batch,), bool."""


class Pool(NamedTuple):
    """The texts that a wrong one is drawn of."""

    texts: Texts
    """Of this worker, or of all."""
    first: int
    """Where this worker's own begin."""


class Sighted(NamedTuple):
    """What is looked at."""

    own: Seen
    """This worker's images."""
    wrong: Seen
    """The wrong image of each of this worker's texts."""


def match_pairs(encoder: TextStack, head: nn.Module, pool: Pool, negatives: Negatives, seen: Sighted) -> Matched:
    """ITM's loss over the three kinds of pairs; a wrong one that could not be drawn does not count.

    Args:
        encoder: the text encoder.
        head: text width to two logits.
        pool: texts, which begin with the mark that says to look at an image.
        negatives: what was drawn.
        seen: what the images show.
    """
    return match(pair_logits(encoder, head, pool, negatives, seen), pair_labels(negatives))


def pair_logits(encoder: TextStack, head: nn.Module, pool: Pool, negatives: Negatives, seen: Sighted) -> Tensor:
    """The head's logits, (3 * batch, 2): first each image's right and wrong text in turn, then each text's wrong image.

    The one place of a step that waits for the device: how long the drawn texts are must be known to lay them out.
    """
    drawn: list[int] = negatives.texts.tolist()
    own = range(pool.first, pool.first + len(drawn))
    beside = [number for pair in zip(own, drawn, strict=True) for number in pair]
    read = pool.texts.pick([*beside, *own])
    looks = [Look(seen.own, [2] * len(drawn)), Look(seen.wrong, [1] * len(drawn))]
    logits: Tensor = head(encoder(read, looks, first=True))
    return logits


def pair_labels(negatives: Negatives) -> Tensor:
    """Of `pair_logits`, (3 * batch,), int64."""
    no_text, no_image = ((~has).long() * IGNORED for has in (negatives.has_text, negatives.has_image))
    return torch.cat([torch.stack([torch.ones_like(no_text), no_text], dim=1).flatten(), no_image])
