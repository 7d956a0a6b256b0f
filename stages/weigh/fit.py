"""A logistic regression with a few inputs. Arrays in, arrays out."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from stages.weights import sigmoid

RIDGE: Final = 1.0
"""Half of this times the sum of the squared weights is added to the loss; it is what scikit-learn's `C=1` stands for.
Against thousands of texts it is nothing, and of data that can be told apart without an error it keeps them finite."""
_STEPS: Final = 100
_ENOUGH: Final = 1e-9
"""Where no weight moves by more, the minimum is found."""


def fit(inputs: NDArray[np.float64], own: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The weights that minimise the logistic loss of telling own texts from others, by Newton's method.

    Both sorts count alike, however many there are of each (scikit-learn's `class_weight="balanced"`), so that the
    probability is that of a text of which nothing is known beforehand, and 0.5 stands in the middle.

    Args:
        inputs: (texts, inputs), finite.
        own: (texts,), of both sorts.

    Returns:
        (1 + inputs,): the intercept, which has no penalty, and the weights.
    """
    design = np.column_stack([np.ones(len(inputs)), inputs])
    counts = np.where(own, len(own) / (2 * own.sum()), len(own) / (2 * (~own).sum()))
    ridge = np.diag([0.0, *[RIDGE] * inputs.shape[1]])
    weights = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        chance = sigmoid(design @ weights)
        slope = design.T @ (counts * (chance - own)) + ridge @ weights
        bend = (design.T * (counts * chance * (1 - chance))) @ design + ridge
        step = np.linalg.solve(bend, slope)
        while _loss(design, own, counts, weights - step) > _loss(design, own, counts, weights) + _ENOUGH:
            step /= 2  # far from the minimum a whole step may lead past it
        weights -= step
        if np.abs(step).max() < _ENOUGH:
            break
    return weights


def _loss(
    design: NDArray[np.float64], own: NDArray[np.bool_], counts: NDArray[np.float64], weights: NDArray[np.float64]
) -> float:
    odds = design @ weights
    return float(counts @ (np.logaddexp(0, odds) - own * odds) + RIDGE / 2 * (weights[1:] @ weights[1:]))
