"""What a two-class matching head says of image-text pairs, as probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Texts = Sequence[Sequence[str]]
"""Of each image its texts."""


def match_probabilities(logits: Callable[[Tensor, Texts], Tensor], pixels: Tensor, texts: Texts) -> list[list[float]]:
    """The probability of "match", in [0, 1], of every text of every image; NaN where a logit is not finite.

    Args:
        logits: of images that all have texts, and these, one image's after the other's: (texts, 2), float32, of which
            index 1 is "match".
        pixels: (images, 3, height, width), float32.
        texts: of each image its texts; there may be none.
    """
    asked = [row for row, said in enumerate(texts) if said]  # an image without texts need not be looked at
    scores: list[list[float]] = [[] for _ in texts]
    if asked:
        found = logits(pixels[asked], [texts[row] for row in asked])
        finite = found.isfinite().all(dim=-1)  # an infinite one would make a probability of 0 or 1
        values = iter(found.softmax(dim=-1)[:, 1].where(finite, torch.nan).tolist())
        for row in asked:
            scores[row] = [next(values) for _ in texts[row]]
    return scores
