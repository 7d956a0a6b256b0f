"""Which candidates are kept, and why the others are not. Arrays in, arrays out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, get_args

import numpy as np
from numpy.typing import NDArray

from stages.select.texts import EMPTY
from stages.tables import Reason

REASONS: Final[tuple[Reason, ...]] = get_args(Reason)
_CODE: Final = {reason: code for code, reason in enumerate(REASONS)}


@dataclass(frozen=True)
class Candidates:
    """The candidates of a shard, column by column, in any order."""

    image: NDArray[np.int64]
    candidate: NDArray[np.int64]
    """Its place among those of its image."""
    text: NDArray[np.int64]
    """See `texts.text_codes`."""
    human: NDArray[np.bool_]
    """Whether people wrote it for this image."""
    clip: NDArray[np.float32] | None
    """Cosine; NaN where there is none. None: no CLIP ranked them."""
    itm: NDArray[np.float32] | None
    """Probability of a match; NaN where there is none. None: no filter judged them."""


@dataclass(frozen=True)
class Verdicts:
    """What becomes of each candidate, in the candidates' order."""

    rank: NDArray[np.int16]
    """1 = the first of its image among those allowed; 0 = not allowed."""
    reason: NDArray[np.int8]
    """Index into `REASONS`."""

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Whether a candidate is in the corpus."""
        return np.isin(self.reason, [_CODE["kept"], _CODE["human"]])


def keep_best(candidates: Candidates, *, k: int | None, itm_threshold: float | None) -> Verdicts:
    """The best k of each image by CLIP score among distinct texts that pass the ITM threshold, behind all human ones.

    What people wrote is kept as it is, and ranks before all else, in its order. Of the reasons that apply to another
    candidate, the first in the order empty, duplicate, below_threshold, unscored is given. A text is unscored if it
    lacks the probability that a threshold is set for, or the cosine to be ranked by. Where nobody judged, and nobody
    ranked, neither is asked for.
    """
    human, empty = candidates.human, candidates.text == EMPTY
    duplicate = _repeats(candidates)
    noise, unjudged = _judge(candidates.itm, itm_threshold, len(empty))
    unscored = unjudged if candidates.clip is None else unjudged | np.isnan(candidates.clip)
    allowed = ~(empty | duplicate | noise | unscored) | human
    rank = np.zeros(len(empty), np.int16)
    rank[allowed] = _ranks(candidates, allowed)
    first = rank - _humans(candidates)
    reason = np.select(
        [human, empty, duplicate, noise, unscored, np.full(len(empty), k is None) | (first <= (k or 0))],
        [_CODE[name] for name in ("human", "empty", "duplicate", "below_threshold", "unscored", "kept")],
        _CODE["outranked"],
    )
    return Verdicts(rank, reason.astype(np.int8))


def _judge(
    itm: NDArray[np.float32] | None, threshold: float | None, count: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which candidates are below the threshold, and of which nobody knows."""
    if threshold is None or itm is None:
        return np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    # Compared in the scores' own precision: a stored 0.7 passes a threshold of 0.7.
    return itm < np.float32(threshold), np.isnan(itm)


def _humans(candidates: Candidates) -> NDArray[np.int16]:
    """How many texts of a candidate's image people wrote."""
    count = np.bincount(candidates.image, candidates.human, minlength=candidates.image.max(initial=-1) + 1)
    return count[candidates.image].astype(np.int16)


def _repeats(candidates: Candidates) -> NDArray[np.bool_]:
    """Whether a candidate's text is a human one of its image, or that of an earlier candidate."""
    order = np.lexsort((candidates.candidate, ~candidates.human, candidates.text, candidates.image))
    image, text = candidates.image[order], candidates.text[order]
    repeats = np.zeros(len(order), np.bool_)
    repeats[order[1:]] = (image[1:] == image[:-1]) & (text[1:] == text[:-1])
    return repeats


def _ranks(candidates: Candidates, allowed: NDArray[np.bool_]) -> NDArray[np.int16]:
    """Rank 1, 2, ... within each image: human texts, then by CLIP score (if there are any), then in their order."""
    image, candidate, human = (found[allowed] for found in (candidates.image, candidates.candidate, candidates.human))
    score = np.zeros(len(image), np.float32) if candidates.clip is None else -candidates.clip[allowed]
    order = np.lexsort((candidate, np.where(human, 0, score), ~human, image))
    in_order = image[order]
    start = np.searchsorted(in_order, in_order)
    ranks = np.empty(len(image), np.int16)
    ranks[order] = np.arange(len(image)) - start + 1
    return ranks
