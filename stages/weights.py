"""Scores of several filters joined by weights, as a logistic regression joins them.

A filter's score is a probability, and its log-odds are what the models behind it give. Their weighted sum and an
intercept are the log-odds of the text being the image's own; the weights are fitted by the `weigh` stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

LEAST: Final = 1e-6
"""A probability counts as no less than this, and as no more than 1 minus it: in float32 one may be 0 or 1, whose
log-odds are not finite."""


def log_odds(scores: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """The log-odds of filters' scores.

    Args:
        scores: of each filter, probabilities in [0, 1]; NaN where there is none.

    Returns:
        (texts, filters), within ±13.8; NaN stays.
    """
    clipped = np.clip(np.stack(scores, axis=1).astype(np.float64), LEAST, 1 - LEAST)
    found: NDArray[np.float64] = np.log(clipped) - np.log1p(-clipped)
    return found


def sigmoid(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """The probabilities of log-odds; of large ones too, without an overflow."""
    return 0.5 * (1 + np.tanh(0.5 * log_odds))


def weighted(scores: Sequence[NDArray[np.float32]], weights: NDArray[np.float64]) -> NDArray[np.float32]:
    """The probability of a text being the image's own; NaN where a filter has no score.

    Args:
        scores: as for `log_odds`.
        weights: (1 + filters,), the intercept first.

    Raises:
        ValueError: there are weights of more filters, or of fewer.
    """
    if len(weights) != len(scores) + 1:
        raise ValueError(f"the weights are of {len(weights) - 1} filter(s), and {len(scores)} have scores")
    return sigmoid(weights[0] + log_odds(scores) @ weights[1:]).astype(np.float32)
