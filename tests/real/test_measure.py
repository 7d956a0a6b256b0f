"""What is measured, against numbers that can be had by hand or from a library."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu

from tests.real.clip import LAMBDA, ridge
from tests.real.measure import auc, content_words, share_in_common, shuffled


def test_auc_is_mann_whitneys_u():
    drawn = np.random.default_rng(0)
    right, wrong = drawn.integers(2, 9, 40).tolist(), drawn.integers(0, 7, 70).tolist()
    assert auc(right, wrong) == pytest.approx(mannwhitneyu(right, wrong).statistic / (40 * 70))


def test_words_that_say_nothing_do_not_count():
    assert content_words("A photo of two Dogs, on the grass!") == {"dog", "grass"}
    assert share_in_common(["a red dog", "the cat", "an ox"], ["Two dogs.", "A dog.", "An ox"]) == pytest.approx(1 / 3)


def test_shuffled_texts_are_others():
    texts = ["a", "b", "a", "c"]
    for order in shuffled(texts, 20):
        assert all(theirs != own for theirs, own in zip(order, texts, strict=True))


def test_ridge_is_least_squares_with_rows_of_its_penalty():
    drawn = torch.Generator().manual_seed(0)
    rows, wanted = torch.randn(30, 5, generator=drawn), torch.randn(30, 3, generator=drawn)
    unit = rows / rows.norm(dim=1, keepdim=True)
    padded = np.vstack([unit.numpy(), LAMBDA**0.5 * np.eye(5)])
    centred = np.vstack([(wanted - wanted.mean(dim=0)).numpy(), np.zeros((5, 3))])
    expected = np.linalg.lstsq(padded, centred, rcond=None)[0]
    assert ridge(rows, wanted).numpy() == pytest.approx(expected, abs=1e-5)
