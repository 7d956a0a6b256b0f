"""What several filters say of a text, as one number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def joined(scores: Sequence[NDArray[np.float32]], join: str) -> NDArray[np.float32]:
    """The scores of several filters as one: their mean; the least, where all must let a text pass; or the largest.

    A text that one of them could not score has none.
    """
    if join == "mean":
        mean: NDArray[np.float32] = np.asarray(np.mean(np.asarray(scores, np.float64), axis=0), np.float32)
        return mean
    found: NDArray[np.float32] = np.min(scores, axis=0) if join == "all" else np.max(scores, axis=0)
    return found
