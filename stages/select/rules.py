"""Which candidates are kept, and why the others are not. Arrays in, arrays out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, get_args

import numpy as np
from numpy.typing import NDArray

from stages.tables import Reason
from stages.texts import EMPTY

REASONS: Final[tuple[Reason, ...]] = get_args(Reason)
_CODE: Final = {reason: code for code, reason in enumerate(REASONS)}


@dataclass(frozen=True)
class Candidates:
    """The candidates of a shard, column by column, in any order."""

    image: NDArray[np.int64]
    candidate: NDArray[np.int64]
    """Its place among those of its image."""
    writer: NDArray[np.int64]
    text: NDArray[np.int64]
    """See `texts.text_codes`; `EMPTY` of what is shuffled, too, for it is no text of the image."""
    human: NDArray[np.bool_]
    """Whether people wrote it for this image."""
    shuffled: NDArray[np.bool_]
    """Whether they wrote it for another one."""
    common: NDArray[np.bool_]
    """Whether too many images have its text, and others may keep it."""
    clip: NDArray[np.float64] | None
    """Cosine, less what a long text has taken off; NaN where there is none. None: no CLIP ranked them."""
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


def keep_best(
    candidates: Candidates, *, k: int | None, itm_threshold: float | None, per_writer: int | None = None
) -> Verdicts:
    """The best k of each image by CLIP score among distinct texts that pass the ITM threshold, behind all human ones.

    What people wrote is kept as it is, and ranks before all else, in its order; what they wrote of other images is not.
    Of the reasons that apply to another candidate, the first in the order empty, duplicate, below_threshold, unscored,
    common is given. A text is unscored if it lacks the probability that a threshold is set for, or the cosine to be
    ranked by. Where nobody judged, and nobody ranked, neither is asked for. What a writer has written beyond
    `per_writer` ranks behind all that is within it, and is not kept.
    """
    human, empty = candidates.human, candidates.text == EMPTY
    duplicate = _repeats(candidates)
    noise, unjudged = _judge(candidates.itm, itm_threshold, len(empty))
    unscored = unjudged if candidates.clip is None else unjudged | np.isnan(candidates.clip)
    allowed = ~(empty | duplicate | noise | unscored | candidates.common) | human
    rank, beyond = np.zeros(len(empty), np.int16), np.zeros(len(empty), np.bool_)
    rank[allowed], beyond[allowed] = _ranks(candidates, allowed, per_writer)
    first = rank - _humans(candidates)
    reasons: dict[Reason, NDArray[np.bool_]] = {
        "human": human,
        "shuffled": candidates.shuffled,
        "empty": empty,
        "duplicate": duplicate,
        "below_threshold": noise,
        "unscored": unscored,
        "common": candidates.common,
        "kept": ~beyond if k is None else ~beyond & (first <= k),
    }
    codes = [np.int8(_CODE[name]) for name in reasons]
    return Verdicts(rank, np.select(list(reasons.values()), codes, np.int8(_CODE["outranked"])))


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


def _ranks(
    candidates: Candidates, allowed: NDArray[np.bool_], per_writer: int | None
) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """Rank 1, 2, ... within each image: human texts, then by CLIP score (if there are any), then in their order.

    Returns:
        Of those allowed the ranks, and whether their writer has enough better ones.
    """
    image, human = candidates.image[allowed], candidates.human[allowed]
    score = np.zeros(len(image)) if candidates.clip is None else -candidates.clip[allowed]
    keys = (candidates.candidate[allowed], np.where(human, 0, score), ~human)
    beyond: NDArray[np.bool_] = np.zeros(len(image), np.bool_)
    if per_writer is not None:
        writer = candidates.writer[allowed]
        beyond = ~human & (_places(keys, image * (writer.max(initial=0) + 1) + writer) > per_writer)
    return _places((*keys, beyond), image).astype(np.int16), beyond


def _places(keys: tuple[NDArray[Any], ...], group: NDArray[np.int64]) -> NDArray[np.int64]:
    """The place of every row among those of its group, from 1, ordered by the last of the keys, then the others."""
    order = np.lexsort((*keys, group))
    in_order = group[order]
    places = np.empty(len(group), np.int64)
    places[order] = np.arange(len(group)) - np.searchsorted(in_order, in_order) + 1
    return places
