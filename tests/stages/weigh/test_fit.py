"""The logistic regression, beside scipy's minimiser and what is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit

from stages.weigh.fit import RIDGE, fit
from stages.weights import LEAST, log_odds, weighted


def loss(weights: NDArray[np.float64], inputs: NDArray[np.float64], own: NDArray[np.bool_]) -> float:
    """Text by text, as scikit-learn's guide has it for `class_weight="balanced"`, `C=1`."""
    total = 0.0
    for row, is_own in zip(inputs, own, strict=True):
        odds = weights[0] + sum(weight * value for weight, value in zip(weights[1:], row, strict=True))
        count = len(own) / (2 * (own.sum() if is_own else (~own).sum()))
        total += count * np.logaddexp(0, -odds if is_own else odds)
    return float(total + RIDGE / 2 * sum(weights[1:] ** 2))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.floats(0.1, 14), st.integers(2, 30))
def test_it_is_the_minimum_that_scipy_finds(seed: int, filters: int, spread: float, texts: int) -> None:
    random = np.random.default_rng(seed)
    inputs = random.normal(0, spread, (texts, filters))
    own = random.random(texts) < 0.6
    own[:2] = True, False
    found = fit(inputs, own)
    other = minimize(loss, np.zeros(1 + filters), (inputs, own), tol=1e-10)
    assert loss(found, inputs, own) <= other.fun + 1e-6
    np.testing.assert_allclose(found, other.x, atol=2e-3)


def test_one_yes_or_no_has_the_odds_that_are_counted() -> None:
    counts = [30_000, 5000, 10_000, 35_000]  # 40,000 of each sort, beside which the ridge is small
    intercept, weight = fit(np.repeat([[1.0], [1], [0], [0]], counts, axis=0), np.repeat([True, False] * 2, counts))
    assert intercept == pytest.approx(np.log(10 / 35), abs=1e-3)
    assert weight == pytest.approx(np.log(30 / 5) - np.log(10 / 35), abs=2e-3)


def test_how_many_there_are_of_each_sort_moves_nothing() -> None:
    random = np.random.default_rng(0)
    own = np.arange(4000) % 2 == 0
    inputs = random.normal(np.where(own, 2, -2)[:, None], 3, (4000, 2))
    fivefold = np.repeat(np.arange(4000), np.where(own, 5, 1))
    np.testing.assert_allclose(fit(inputs[fivefold], own[fivefold]), fit(inputs, own), atol=1e-2)


def test_what_can_be_told_apart_without_an_error_has_finite_weights_and_what_says_nothing_none() -> None:
    own = np.arange(100) % 2 == 0
    inputs = np.stack([np.where(own, 13.8, -13.8), np.zeros(100)], axis=1)
    weights = fit(inputs, own)
    assert np.isfinite(weights).all()
    assert 0 < weights[1] < 5
    assert weights[[0, 2]] == pytest.approx([0, 0], abs=1e-9)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.floats(0, 1, width=32), st.floats(0, 1, width=32)), min_size=1, max_size=5))
def test_scores_are_joined_as_scipy_joins_them(scores: list[tuple[float, float]]) -> None:
    columns = [np.array(column, np.float32) for column in zip(*scores, strict=True)]
    weights = np.array([-0.5, 1.25, -0.75])
    inputs = logit(np.clip(np.array(scores, np.float64), LEAST, 1 - LEAST))
    np.testing.assert_allclose(log_odds(columns), inputs, atol=1e-9)
    np.testing.assert_allclose(weighted(columns, weights), expit(-0.5 + inputs @ weights[1:]), atol=1e-6)


def test_a_text_that_one_filter_could_not_score_has_none_and_weights_are_of_as_many_filters() -> None:
    scores = [np.array([0.5, np.nan, 1.0], np.float32), np.array([np.nan, 0.5, 0.0], np.float32)]
    assert np.isnan(weighted(scores, np.array([0.0, 1.0, 1.0]))).tolist() == [True, True, False]
    with pytest.raises(ValueError, match="of 1 filter"):
        weighted(scores, np.array([0.0, 1.0]))
