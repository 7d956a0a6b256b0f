"""From logits and one uniform number to the next token, row by row.

The order of the filters is that of transformers' `generate`: repetition penalty, temperature, top-k, top-p. A token is
then found by inverting the distribution function. No row sees another, so that no caption depends on its batch.

Sorting 30,524 logits per row and step would cost more than the decoder's layers on a CPU. There the likeliest tokens
are looked at first, and the whole vocabulary only for rows whose choice they may not hold.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LIKELIEST = 256
"""How many tokens are looked at before the whole vocabulary is; a captioner's nucleus rarely has more."""
MARGIN = 1e-4
"""Probability by which the likeliest tokens must exceed the nucleus, far more than single precision rounds away."""


@dataclass(frozen=True)
class Sampling:
    """How captions are drawn; the fields mean what they mean in the caption stage's recipe."""

    top_p: float
    top_k: int | None
    temperature: float
    repetition_penalty: float
    max_length: int
    min_length: int
    beams: int | None = None


def draw_next(
    logits: Tensor, seen: Tensor, uniforms: Tensor, sampling: Sampling, ruled_out: int | None = None
) -> tuple[Tensor, Tensor]:
    """Draw one token a row: what `draw` makes of what `warp` leaves.

    Args:
        logits: the model's, (rows, vocabulary), float32.
        seen: (rows, tokens), int64: the prompt and what was drawn so far.
        uniforms: (rows,), float64, in [0, 1).
        sampling: the filters' settings.
        ruled_out: a token that may not be drawn now.

    Returns:
        Token ids, (rows,), int64, and the log of their probability under the model itself, (rows,), float32; not finite
        where the model's logits are not.
    """
    allowed = _scale(logits if ruled_out is None else _without(logits, ruled_out), seen, sampling)
    if logits.device.type == "cpu" and (sampling.top_p < 1.0 or sampling.top_k is not None):
        drawn = _draw_among_likeliest(allowed, uniforms, sampling)
    else:  # a GPU sorts in no time, but would have to wait to learn which rows need it
        drawn = draw(_cut(allowed, sampling), uniforms)
    return drawn, logits.gather(1, drawn[:, None])[:, 0] - logits.logsumexp(dim=-1)


def warp(logits: Tensor, seen: Tensor, sampling: Sampling) -> Tensor:
    """Filter the model's logits down to what may be drawn.

    Args:
        logits: (rows, vocabulary), float32.
        seen: (rows, tokens), int64: the prompt and what was drawn so far.
        sampling: the filters' settings.

    Returns:
        Logits of the same shape; -inf where a token may not be drawn.
    """
    return _cut(_scale(logits, seen, sampling), sampling)


def draw(logits: Tensor, uniforms: Tensor) -> Tensor:
    """Draw one token a row by the inverse distribution function.

    Tokens stand in the order of their ids, so that rounding errors move the borders between tokens a little instead of
    swapping two of equal rank. Sums run in float64: at 30,000 tokens float32 would shift the borders visibly.

    Args:
        logits: (rows, vocabulary); -inf is never drawn.
        uniforms: (rows,), float64, in [0, 1).

    Returns:
        Token ids, (rows,), int64; any token that there is where logits are not finite, of which the caller's log
        probability tells.
    """
    cumulative = logits.softmax(dim=-1, dtype=torch.float64).cumsum(dim=-1)
    total = cumulative[:, -1]
    below_total = torch.nextafter(total, torch.zeros_like(total))
    target = torch.minimum(uniforms * total, below_total)  # the product may round up to the total
    found = torch.searchsorted(cumulative, target[:, None], right=True)[:, 0]
    return found.clamp_max(logits.shape[-1] - 1)  # beyond the last one lies only what is not a number


def _draw_among_likeliest(logits: Tensor, uniforms: Tensor, sampling: Sampling) -> Tensor:
    """`draw` of the cut logits, from the likeliest tokens of each row where these are sure to hold all that is left."""
    values, ids = logits.topk(min(LIKELIEST, logits.shape[-1]), dim=-1)
    ids, by_id = ids.sort(dim=-1)
    values = values.gather(1, by_id)
    # Of the tokens that tie with the least of these, some may be missing here. All that lie above it are here.
    above = values.masked_fill(values == values.amin(dim=-1, keepdim=True), -torch.inf)
    if sampling.top_k is None:
        total = logits.logsumexp(dim=-1, keepdim=True)
        sure = (above - total).exp().sum(dim=-1) > sampling.top_p + MARGIN
    else:
        total = None
        sure = above.isfinite().sum(dim=-1) >= sampling.top_k
    drawn = torch.empty_like(uniforms, dtype=torch.int64)
    some, whole = sure.nonzero()[:, 0], (~sure).nonzero()[:, 0]
    left = _cut(above[some], sampling, None if total is None else total[some])
    drawn[some] = ids[some].gather(1, draw(left, uniforms[some])[:, None])[:, 0]
    drawn[whole] = draw(_cut(logits[whole], sampling), uniforms[whole])
    return drawn


def _scale(logits: Tensor, seen: Tensor, sampling: Sampling) -> Tensor:
    """The filters that move tokens: repetition penalty and temperature."""
    return penalise(logits, seen, sampling.repetition_penalty) / sampling.temperature


def _cut(logits: Tensor, sampling: Sampling, total: Tensor | None = None) -> Tensor:
    """The filters that remove tokens: top-k and top-p; `total` as in `_keep_nucleus`."""
    if sampling.top_k is not None:
        logits = _keep_top_k(logits, sampling.top_k)
    return _keep_nucleus(logits, sampling.top_p, total)


def _without(logits: Tensor, token: int) -> Tensor:
    """Logits with one token ruled out."""
    left = logits.clone()
    left[:, token] = -torch.inf
    return left


def penalise(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Make tokens that were seen less likely: CTRL's penalty (arXiv 1909.05858), once per token."""
    if penalty == 1.0:
        return logits
    scores = logits.gather(1, seen)
    return logits.scatter(1, seen, torch.where(scores < 0, scores * penalty, scores / penalty))


def _keep_top_k(logits: Tensor, top_k: int) -> Tensor:
    """Keep the k most likely tokens, and those that tie with the last of them."""
    least = logits.topk(min(top_k, logits.shape[-1]), dim=-1).values[:, -1:]
    return logits.masked_fill(logits < least, -torch.inf)


def _keep_nucleus(logits: Tensor, top_p: float, total: Tensor | None) -> Tensor:
    """Keep the smallest set of most likely tokens whose probability reaches top_p (arXiv 1904.09751).

    Args:
        logits: (rows, tokens).
        top_p: the probability.
        total: logsumexp over all tokens that count, (rows, 1), where `logits` are not all of them.
    """
    if top_p == 1.0:
        return logits  # rounding must not cut the tail off
    # Stable, so that of equal tokens the lower id comes first on every device.
    ordered, order = logits.sort(dim=-1, descending=True, stable=True)
    if total is None:
        probabilities = ordered.softmax(dim=-1, dtype=torch.float64)
    else:
        probabilities = (ordered.double() - total.double()).exp()
    before = probabilities.cumsum(dim=-1) - probabilities
    before[:, 0] = 0.0
    return torch.full_like(logits, -torch.inf).scatter(1, order, ordered.masked_fill(before >= top_p, -torch.inf))
