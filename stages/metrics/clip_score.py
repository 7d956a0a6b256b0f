"""CLIPScore: how well a caption fits its image, by a model of images and texts instead of other people's captions.

Hessel et al. 2021 (arXiv 2104.08718), section 3, with the prompt that the authors' code puts before every text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from stages.models.family import DualEncoder

WEIGHT: Final = 2.5
"""What cosines are multiplied by, so that scores fill [0, 1] by and large."""
PROMPT: Final = "A photo depicts "
"""Stands before captions and references alike."""


def clip_score(cosines: Tensor) -> Tensor:
    """2.5 x max(cosine, 0), of images and their captions."""
    return WEIGHT * cosines.clamp_min(0)


def ref_clip_score(scores: Tensor, references: Tensor) -> Tensor:
    """The harmonic mean of CLIPScore and the cosine of the caption with the nearest reference, below 0 taken for 0.

    Args:
        scores: from `clip_score`, (images,).
        references: that cosine, (images,).
    """
    nearest = references.clamp_min(0)
    total = scores + nearest
    return torch.where(total > 0, 2 * scores * nearest / total.where(total > 0, 1), 0)


@torch.inference_mode()
def score_images(
    encoder: DualEncoder, pixels: Tensor, captions: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[Tensor, Tensor]:
    """Score the captions of some images.

    Args:
        encoder: the model.
        pixels: (images, 3, height, width), from the encoder's `preprocess`.
        captions: one per image.
        references: what people wrote of each; there may be nothing.

    Returns:
        CLIPScore and RefCLIPScore, (images,), float32, on the CPU; NaN for the latter where there is no reference, and
        for both where the model's numbers are not finite.
    """
    written = _embed(encoder, captions)
    scores = clip_score((encoder.embed_images(pixels) * written).sum(dim=1))
    nearest = torch.full_like(scores, torch.nan)
    for row, texts in enumerate(references):
        if texts:
            nearest[row] = (_embed(encoder, texts) @ written[row]).max()
    return scores.cpu(), torch.where(nearest.isnan(), nearest, ref_clip_score(scores, nearest)).cpu()


def _embed(encoder: DualEncoder, texts: Sequence[str]) -> Tensor:
    return encoder.embed_texts([encoder.prepare(PROMPT + text) for text in texts])
