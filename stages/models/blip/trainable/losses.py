"""What BLIP's losses are made of (Li et al. 2022, arXiv 2201.12086, section 3.2), as functions of tensors."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from stages.models.device import in_full

FLOOR = 1e-4
"""Added to the probability of every negative in pretraining, so that each can be drawn (BLIP's blip_pretrain.py)."""
ALPHA = 0.4
"""The greatest share of the slow copies' similarities in ITC's targets."""
IGNORED = -100
"""The label of what does not count."""


class Matched(NamedTuple):
    """ITM."""

    loss: Tensor
    """The mean over the pairs that count."""
    accuracy: Tensor
    """The share of them that is judged rightly; without gradient."""


def alpha_at(step: int, ramp: int) -> float:
    """The share of the slow copies' similarities in ITC's targets: it grows linearly over the first steps.

    Args:
        step: of the training, from 0.
        ramp: steps until it is whole: those of two epochs in pretraining, of one in retrieval.
    """
    return ALPHA * min(1.0, step / ramp)


def unit(rows: Tensor) -> Tensor:
    """Rows brought to length 1, in single precision at least."""
    return normalize(in_full(rows), dim=-1)


def contrast(logits: Tensor, slow: Tensor, hard: Tensor, alpha: float) -> Tensor:
    """ITC in one direction: cross-entropy with targets that are partly what the slow copies think.

    Args:
        logits: (batch, all): similarities over the temperature.
        slow: (batch, all): the same of the slow copies' embeddings, without gradient.
        hard: (batch, all): the other part of the targets; rows sum to 1.
        alpha: the share of the slow copies.
    """
    targets = alpha * slow.softmax(dim=1) + (1 - alpha) * hard
    return -(logits.log_softmax(dim=1) * targets).sum(dim=1).mean()


def pretraining_weights(logits: Tensor) -> Tensor:
    """How likely each other one of the batch is drawn as a row's negative, up to a factor.

    Args:
        logits: (batch, batch): similarities over the temperature; partners stand on the diagonal.
    """
    return (logits.detach().softmax(dim=1) + FLOOR).fill_diagonal_(0.0)


def retrieval_weights(logits: Tensor, same: Tensor) -> Tensor:
    """The same in fine-tuning, where equal images are known and there is no floor.

    Args:
        logits: (batch, all).
        same: (batch, all), bool: columns of the row's own image. They are never drawn.
    """
    allowed = logits.detach().masked_fill(same, -torch.inf)  # before the softmax: behind it all may have become 0
    return allowed.softmax(dim=1).masked_fill(same, 0.0)  # a row without any is NaN before


def draw(weights: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Draw a column of every row with probabilities in proportion to weights, by the inverse of their distribution.

    Args:
        weights: (rows, columns), not negative.
        uniforms: (rows,), in [0, 1): the column drawn is the first whose cumulative share exceeds it.

    Returns:
        The columns, (rows,), int64; and whether a row has any that may be drawn, (rows,), bool: where not, the column
        means nothing.
    """
    rising = weights.double().cumsum(dim=1)
    total = rising[:, -1:]
    drawn = torch.searchsorted(rising, uniforms.double()[:, None] * total, right=True)
    last = (rising >= total).int().argmax(dim=1, keepdim=True)  # rounding must not lead behind it
    return torch.minimum(drawn, last)[:, 0], total[:, 0] > 0


def match(logits: Tensor, labels: Tensor) -> Matched:
    """ITM: whether image and text belong together.

    Args:
        logits: (pairs, 2), of which index 1 is "they do".
        labels: (pairs,), int64: 1 or 0, or `IGNORED`; one must count.
    """
    counted = (labels != IGNORED).sum()
    return Matched(
        cross_entropy(in_full(logits), labels, ignore_index=IGNORED),
        (logits.argmax(dim=1) == labels).sum() / counted,
    )
