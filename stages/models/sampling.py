"""From logits and one uniform number to the next token, row by row.

The order of the filters is that of transformers' `generate`: repetition penalty, temperature, top-k, top-p. A token is
then found by inverting the distribution function. No row sees another, so that no caption depends on its batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """How captions are drawn; the fields mean what they mean in the caption stage's recipe."""

    top_p: float
    top_k: int | None
    temperature: float
    repetition_penalty: float
    max_length: int
    min_length: int


def warp(logits: Tensor, seen: Tensor, sampling: Sampling) -> Tensor:
    """Filter the model's logits down to what may be drawn.

    Args:
        logits: (rows, vocabulary), float32.
        seen: (rows, tokens), int64: the prompt and what was drawn so far.
        sampling: the filters' settings.

    Returns:
        Logits of the same shape; -inf where a token may not be drawn.
    """
    logits = _penalise(logits, seen, sampling.repetition_penalty) / sampling.temperature
    if sampling.top_k is not None:
        logits = _keep_top_k(logits, sampling.top_k)
    return _keep_nucleus(logits, sampling.top_p)


def draw(logits: Tensor, uniforms: Tensor) -> Tensor:
    """Draw one token a row by the inverse distribution function.

    Tokens stand in the order of their ids, so that rounding errors move the borders between tokens a little instead of
    swapping two of equal rank. Sums run in float64: at 30,000 tokens float32 would shift the borders visibly.

    Args:
        logits: (rows, vocabulary); -inf is never drawn.
        uniforms: (rows,), float64, in [0, 1).

    Returns:
        Token ids, (rows,), int64.
    """
    cumulative = logits.softmax(dim=-1, dtype=torch.float64).cumsum(dim=-1)
    total = cumulative[:, -1]
    below_total = torch.nextafter(total, torch.zeros_like(total))
    target = torch.minimum(uniforms * total, below_total)  # the product may round up to the total
    return torch.searchsorted(cumulative, target[:, None], right=True)[:, 0]


def _penalise(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Make tokens that were seen less likely: CTRL's penalty (arXiv 1909.05858), once per token."""
    if penalty == 1.0:
        return logits
    scores = logits.gather(1, seen)
    return logits.scatter(1, seen, torch.where(scores < 0, scores * penalty, scores / penalty))


def _keep_top_k(logits: Tensor, top_k: int) -> Tensor:
    """Keep the k most likely tokens, and those that tie with the last of them."""
    least = logits.topk(min(top_k, logits.shape[-1]), dim=-1).values[:, -1:]
    return logits.masked_fill(logits < least, -torch.inf)


def _keep_nucleus(logits: Tensor, top_p: float) -> Tensor:
    """Keep the smallest set of most likely tokens whose probability reaches top_p (arXiv 1904.09751)."""
    if top_p == 1.0:
        return logits  # rounding must not cut the tail off
    # Stable, so that of equal tokens the lower id comes first on every device.
    ordered, order = logits.sort(dim=-1, descending=True, stable=True)
    probabilities = ordered.softmax(dim=-1, dtype=torch.float64)
    before = probabilities.cumsum(dim=-1) - probabilities
    before[:, 0] = 0.0
    return torch.full_like(logits, -torch.inf).scatter(1, order, ordered.masked_fill(before >= top_p, -torch.inf))
