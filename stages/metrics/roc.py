"""The area under the receiver operating characteristic: how well a score tells right from wrong at any threshold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def roc_auc(scores: NDArray[Any], right: NDArray[np.bool_]) -> float:
    """Probability that a right one scores above a wrong one, a tie counting half; from ranks, in O(n log n).

    Returns:
        A number in [0, 1]; NaN where all are right, or none is.
    """
    positives, negatives = int(right.sum()), int((~right).sum())
    if not positives or not negatives:
        return float("nan")
    ranks = pd.Series(scores).rank().to_numpy()
    return float((ranks[right].sum() - positives * (positives + 1) / 2) / (positives * negatives))
