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
    text: NDArray[np.int64]
    """See `texts.text_codes`."""
    clip: NDArray[np.float32]
    """Cosine; NaN where there is none."""
    itm: NDArray[np.float32] | None
    """Probability of a match; NaN where there is none. None: no filter ran."""


@dataclass(frozen=True)
class Verdicts:
    """What becomes of each candidate, in the candidates' order."""

    rank: NDArray[np.int16]
    """1 = the best of its image among those allowed; 0 = not allowed."""
    reason: NDArray[np.int8]
    """Index into `REASONS`."""

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Whether a candidate is in the corpus."""
        return np.isin(self.reason, [_CODE["kept"], _CODE["human"]])


def keep_all(image: NDArray[np.int64], candidate: NDArray[np.int64]) -> Verdicts:
    """Human annotations: all kept, ranked in their order."""
    return Verdicts(_ranks(image, candidate), np.full(len(image), _CODE["human"], np.int8))


def keep_best(candidates: Candidates, *, k: int, itm_threshold: float | None) -> Verdicts:
    """The best k of each image by CLIP score among distinct texts that pass the ITM threshold.

    Of the reasons that apply to a candidate, the first in the order empty, duplicate, below_threshold, unscored is
    given. A text is unscored if it lacks the probability that a threshold is set for, or the cosine to be ranked by.

    Raises:
        ValueError: there is a threshold and nothing that it could apply to.
    """
    empty = candidates.text == EMPTY
    duplicate = _repeats(candidates)
    noise, unjudged = _judge(candidates.itm, itm_threshold, len(empty))
    unscored = unjudged | np.isnan(candidates.clip)
    allowed = ~(empty | duplicate | noise | unscored)
    rank = np.zeros(len(empty), np.int16)
    rank[allowed] = _ranks(candidates.image[allowed], candidates.candidate[allowed], -candidates.clip[allowed])
    reason = np.select(
        [empty, duplicate, noise, unscored, rank <= k],
        [_CODE["empty"], _CODE["duplicate"], _CODE["below_threshold"], _CODE["unscored"], _CODE["kept"]],
        _CODE["outranked"],
    )
    return Verdicts(rank, reason.astype(np.int8))


def _judge(
    itm: NDArray[np.float32] | None, threshold: float | None, count: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which candidates are below the threshold, and of which nobody knows."""
    if threshold is None:
        return np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    if itm is None:
        raise ValueError(f"itm_threshold is {threshold}, but no filter stage scored the candidates")
    # Compared in the scores' own precision: a stored 0.7 passes a threshold of 0.7.
    return itm < np.float32(threshold), np.isnan(itm)


def _repeats(candidates: Candidates) -> NDArray[np.bool_]:
    """Whether a candidate's text is that of an earlier candidate of its image."""
    order = np.lexsort((candidates.candidate, candidates.text, candidates.image))
    image, text = candidates.image[order], candidates.text[order]
    repeats = np.zeros(len(order), np.bool_)
    repeats[order[1:]] = (image[1:] == image[:-1]) & (text[1:] == text[:-1])
    return repeats


def _ranks(
    image: NDArray[np.int64], candidate: NDArray[np.int64], score: NDArray[np.float32] | None = None
) -> NDArray[np.int16]:
    """Rank 1, 2, ... within each image, by ascending score (if given), then candidate number."""
    order = np.lexsort((candidate, image) if score is None else (candidate, score, image))
    in_order = image[order]
    start = np.searchsorted(in_order, in_order)
    ranks = np.empty(len(image), np.int16)
    ranks[order] = np.arange(len(image)) - start + 1
    return ranks
