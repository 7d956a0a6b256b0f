"""How often images and texts that were not trained on find one another, of one caption each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

LIMIT = 5000
"""Images that are measured with at most, as many as COCO's test set has: the work grows with their square."""


class Recall(NamedTuple):
    """The share of images, and of texts, whose nearest counterpart is right."""

    image_to_text: float
    text_to_image: float


def recall_at_1(similarity: Tensor, captions: Sequence[str]) -> Recall:
    """Recall among images with one caption each.

    Where images share a caption word for word, nobody could tell them apart: any of them is right.

    Args:
        similarity: (images, texts); text n is image n's.
        captions: the texts.
    """
    numbers = {caption: number for number, caption in enumerate(dict.fromkeys(captions))}
    said = torch.tensor([numbers[caption] for caption in captions], device=similarity.device)
    best_text, best_image = similarity.argmax(dim=1), similarity.argmax(dim=0)
    return Recall(*((said[best] == said).float().mean().item() for best in (best_text, best_image)))


def mean_recall(similarity: Tensor, captions: Sequence[str]) -> float:
    """The mean of recall at 1, 5 and 10 in both directions, by which BLIP picks its best model.

    Args:
        similarity: (images, texts); text n is image n's.
        captions: the texts.
    """
    numbers = {caption: number for number, caption in enumerate(dict.fromkeys(captions))}
    said = torch.tensor([numbers[caption] for caption in captions], device=similarity.device)
    found = []
    for way in (similarity, similarity.T):
        right = said[way.topk(min(10, len(captions)), dim=1).indices] == said[:, None]
        found += [right[:, :k].any(dim=1).double().mean().item() for k in (1, 5, 10)]
    return sum(found) / len(found)


def chance(captions: Sequence[str]) -> float:
    """What `recall_at_1` gives on average who picks at random: equal captions are right for one another."""
    return sum(count**2 for count in Counter(captions).values()) / len(captions) ** 2
