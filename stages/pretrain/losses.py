"""The three losses of BLIP-2's first stage (Li et al. 2023, arXiv 2301.12597, section 3.1), as functions of tensors.

`batch` is what this worker computes, `all` what all workers hold together; with one worker they are the same.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from stages.models.device import in_full

SMOOTHING = 0.1
"""Label smoothing of ITC and ITG."""
IGNORED = -100
"""The label of what does not count."""


def contrastive(logits: Tensor, targets: Tensor, repeated: Tensor) -> Tensor:
    """Cross-entropy with label smoothing, in which repetitions of a row's own image are no negatives.

    Args:
        logits: (batch, all).
        targets: (batch,), int64: the column of a row's partner.
        repeated: (batch, all), bool: other columns that belong to the row's own image. They are left out.

    Returns:
        The mean over the batch. The smoothed part is spread evenly over the columns that are not left out.
    """
    log_probability = logits.masked_fill(repeated, -torch.inf).log_softmax(dim=-1)
    own = log_probability.gather(1, targets[:, None])[:, 0]
    even = log_probability.masked_fill(repeated, 0.0).sum(dim=-1) / (~repeated).sum(dim=-1)
    return -((1 - SMOOTHING) * own + SMOOTHING * even).mean()


def draw_negatives(logits: Tensor, same: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Draw a wrong partner for every row, the likelier the more alike: softmax over what is not its own image.

    Adding Gumbel noise and taking the greatest draws from that softmax without computing it.

    Args:
        logits: (batch, all).
        same: (batch, all), bool: columns of the row's own image, its partner included. They are never drawn.
        uniforms: (batch, all), in [0, 1).

    Returns:
        The columns drawn, (batch,), int64; and whether a row had any to draw from, (batch,), bool.
    """
    tiny = torch.finfo(uniforms.dtype).tiny
    noise = -(-uniforms.clamp_min(tiny).log()).clamp_min(tiny).log()
    return (in_full(logits.detach()) + noise).masked_fill(same, -torch.inf).argmax(dim=-1), ~same.all(dim=-1)


def matching(logits: Tensor, labels: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
    """ITM: cross-entropy, and the share that is judged rightly.

    Args:
        logits: (pairs, 2).
        labels: (pairs,), int64: 1 where image and text belong together, 0 where not, IGNORED for no pair at all.
        total: what to divide the sums by: the number of pairs that count. With several workers it is their mean, so
            that the mean of the workers' losses is the mean over all pairs.
    """
    summed = cross_entropy(in_full(logits), labels, ignore_index=IGNORED, reduction="sum")
    total = total.clamp_min(1)
    return summed / total, (logits.argmax(dim=-1) == labels).sum() / total  # no logit is the greatest at IGNORED


def next_word(logits: Tensor, ids: Tensor, real: Tensor, total: Tensor) -> Tensor:
    """ITG: cross-entropy of every token given those before it, with label smoothing.

    Args:
        logits: (batch, tokens, vocabulary); row t predicts token t + 1.
        ids: (batch, tokens), int64.
        real: (batch, tokens), bool: False on padding, which is not predicted.
        total: what to divide the sum by: the number of predicted tokens, `real[:, 1:].sum()`. With several workers
            it is their mean, so that the mean of the workers' losses is the mean over all tokens.
    """
    labels = ids.masked_fill(~real, IGNORED)[:, 1:]
    spoken = in_full(logits[:, :-1]).flatten(0, 1)
    summed = cross_entropy(spoken, labels.flatten(), ignore_index=IGNORED, label_smoothing=SMOOTHING, reduction="sum")
    return summed / total
