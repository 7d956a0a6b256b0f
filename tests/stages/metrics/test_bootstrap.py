"""The paired bootstrap against scipy's, against what it is for, and on data whose pairs are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from stages.metrics.bootstrap import Share, paired_difference

Column = NDArray[np.float64]


def mean(values: Sequence[float] | Column) -> Share:
    return Share(np.asarray(values, np.float64), np.ones(len(values)))


def correlated(rng: np.random.Generator, images: int, gain: float) -> tuple[Column, Column]:
    """What two models score on the same images, most of it owed to the image."""
    hard = rng.normal(size=images)
    return hard + rng.normal(size=images) / 3, hard + gain + rng.normal(size=images) / 3


def test_its_interval_is_scipys():
    rng = np.random.default_rng(3)
    before, after = correlated(rng, 80, 0.1)
    texts = rng.integers(1, 6, 80).astype(float)
    one, other = (rng.binomial(texts.astype(int), share).astype(float) for share in (0.4, 0.6))

    def statistic(a: Column, b: Column, c: Column, d: Column, of: Column, axis: int) -> Column:
        shares = [b.mean(axis) + d.sum(axis) / of.sum(axis), a.mean(axis) + c.sum(axis) / of.sum(axis)]
        return (shares[0] - shares[1]) / 2

    found = paired_difference([mean(before), Share(one, texts)], [mean(after), Share(other, texts)])
    options = {"paired": True, "method": "percentile", "n_resamples": 10_000, "rng": 5}
    wanted = stats.bootstrap((before, after, one, other, texts), statistic, **options)
    assert found.value == pytest.approx(float(statistic(before, after, one, other, texts, axis=0)))
    width = found.high - found.low
    bounds = wanted.confidence_interval
    assert [found.low, found.high] == pytest.approx([bounds.low, bounds.high], abs=0.04 * width)
    assert found.images == 80


def test_it_covers_the_true_difference_as_often_as_it_says():
    rng, gain, trials = np.random.default_rng(7), 0.05, 300
    pairs = [correlated(rng, 60, gain) for _ in range(trials)]
    found = [paired_difference([mean(a)], [mean(b)], resamples=1000) for a, b in pairs]
    covered = sum(each.low <= gain <= each.high for each in found)
    # intervals of percentiles of 60 images are a little short: 94 % of 300, give or take three standard deviations
    assert 0.94 * trials - 13 <= covered <= 0.94 * trials + 13


def test_an_image_is_drawn_with_all_that_was_measured_of_it():
    rng = np.random.default_rng(1)
    hard = rng.normal(size=200) * 10
    always = paired_difference([mean(hard)], [mean(hard + 0.5)])
    assert (always.low, always.value, always.high) == pytest.approx((0.5, 0.5, 0.5))
    assert always.verdict == "gain"
    moved = paired_difference([mean(hard)], [mean(rng.permutation(hard) + 0.5)])  # no pairs any more
    assert moved.high - moved.low > 2
    assert moved.verdict == "none"
    # what one direction loses on an image the other one gains there, so together nothing changes, whatever is drawn
    up = rng.normal(size=200)
    both = paired_difference([mean(hard), mean(hard)], [mean(hard + up), mean(hard - up)])
    assert (both.low, both.high) == pytest.approx((0, 0))


def test_a_text_counts_with_its_image_and_an_image_by_its_texts():
    found, of = np.array([0.0, 4.0, 0.0]), np.array([1.0, 4.0, 0.0])
    after = paired_difference([Share(np.zeros(3), of)], [Share(found, of)])
    assert after.value == pytest.approx(4 / 5)
    assert 0 <= after.low <= after.high <= 1


def test_the_same_numbers_give_the_same_interval_however_many_are_drawn_at_once(monkeypatch):
    before, after = correlated(np.random.default_rng(2), 50, 0)
    whole = paired_difference([mean(before)], [mean(after)], resamples=500)
    monkeypatch.setattr("stages.metrics.bootstrap.AT_ONCE", 333)
    assert paired_difference([mean(before)], [mean(after)], resamples=500) == whole


@pytest.mark.parametrize(("by", "verdict"), [(2, "gain"), (-2, "loss"), (0, "none")])
def test_the_verdict(by, verdict):
    before, after = correlated(np.random.default_rng(4), 100, by)
    assert paired_difference([mean(before)], [mean(after)], resamples=200).verdict == verdict


def test_no_image_is_no_comparison():
    with pytest.raises(ValueError, match="no image"):
        paired_difference([mean([])], [mean([])])
