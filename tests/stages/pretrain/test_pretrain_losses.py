"""The losses against loops over numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from stages.models.qformer.model import similarities
from stages.pretrain.losses import IGNORED, contrastive, draw_negatives, matching, next_word


@pytest.fixture
def random() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def log_softmax(row: np.ndarray) -> np.ndarray:
    return row - np.log(np.exp(row - row.max()).sum()) - row.max()


def test_an_image_is_as_like_a_text_as_its_best_query(random):
    images = torch.randn(3, 4, 5, generator=random)
    texts = torch.randn(2, 5, generator=random)
    found = similarities(images, texts)
    for image in range(3):
        for text in range(2):
            best = max(float(images[image, query] @ texts[text]) for query in range(4))
            assert found[image, text].item() == pytest.approx(best, abs=1e-5)


def test_contrastive_leaves_repetitions_of_the_own_image_out(random):
    logits = torch.randn(3, 5, generator=random)
    targets = torch.tensor([0, 1, 4])
    repeated = torch.zeros(3, 5, dtype=torch.bool)
    repeated[1, [2, 4]] = True
    expected = []
    for row in range(3):
        columns = [column for column in range(5) if not repeated[row, column]]
        told = log_softmax(logits[row, columns].numpy())
        own = told[columns.index(int(targets[row]))]
        expected.append(-(0.9 * own + 0.1 * told.mean()))
    assert contrastive(logits, targets, repeated).item() == pytest.approx(np.mean(expected), abs=1e-5)


def test_contrastive_has_finite_gradients_where_something_is_left_out(random):
    logits = torch.randn(2, 3, generator=random, requires_grad=True)
    repeated = torch.tensor([[False, True, False], [False, False, False]])
    contrastive(logits, torch.tensor([0, 1]), repeated).backward()
    assert logits.grad.isfinite().all()
    assert logits.grad[0, 1] == 0


@pytest.mark.parametrize("batch", [2, 7, 64])
def test_contrastive_starts_at_the_log_of_the_batch(batch):
    nothing = torch.zeros(batch, batch, dtype=torch.bool)
    found = contrastive(torch.zeros(batch, batch), torch.arange(batch), nothing)
    assert found.item() == pytest.approx(math.log(batch), abs=1e-5)


def test_negatives_are_drawn_by_softmax_and_never_from_the_own_image(random):
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0, 5.0]]).expand(40_000, -1)
    same = torch.tensor([[False, False, False, False, True]]).expand(40_000, -1)
    drawn, found = draw_negatives(logits, same, torch.rand(40_000, 5, generator=random))
    assert found.all()
    shares = torch.bincount(drawn, minlength=5) / 40_000
    torch.testing.assert_close(shares[:4], torch.tensor([2.0, 1.0, 0.0, -1.0]).softmax(0), atol=0.01, rtol=0)
    assert shares[4] == 0


def test_extreme_random_numbers_draw_no_own_image():
    same = torch.eye(3, dtype=torch.bool)
    for number in (0.0, 1 - 2**-24):
        drawn, _ = draw_negatives(torch.full((3, 3), 50.0), same, torch.full((3, 3), number))
        assert (drawn != torch.arange(3)).all()


def test_a_batch_of_one_image_has_no_negatives():
    _, found = draw_negatives(torch.zeros(2, 2), torch.ones(2, 2, dtype=torch.bool), torch.rand(2, 2))
    assert not found.any()


def test_matching_counts_pairs_alone():
    logits = torch.tensor([[0.0, 2.0], [1.0, 0.0], [0.5, 1.0], [9.0, 9.0]])
    labels = torch.tensor([1, 0, 0, IGNORED])
    loss, accuracy = matching(logits, labels, torch.tensor(3.0))
    expected = [-log_softmax(logits[row].numpy())[labels[row]] for row in range(3)]
    assert loss.item() == pytest.approx(np.mean(expected), abs=1e-5)
    assert accuracy.item() == pytest.approx(2 / 3)


def test_matching_by_the_prior_alone_costs_what_the_literature_says():
    prior = torch.tensor([[2 / 3, 1 / 3]]).log().expand(6, -1)
    assert matching(prior, torch.tensor([1, 1, 0, 0, 0, 0]), torch.tensor(6))[0].item() == pytest.approx(
        0.6365, abs=1e-4
    )


def test_next_word_predicts_every_word_after_the_first_and_no_padding(random):
    logits = torch.randn(2, 4, 6, generator=random)
    ids = torch.tensor([[5, 1, 2, 3], [5, 4, 0, 0]])
    real = torch.tensor([[True, True, True, True], [True, True, False, False]])
    expected = []
    for row, last in ((0, 4), (1, 2)):
        for position in range(1, last):
            told = log_softmax(logits[row, position - 1].numpy())
            expected.append(-(0.9 * told[ids[row, position]] + 0.1 * told.mean()))
    found = next_word(logits, ids, real, real[:, 1:].sum())
    assert found.item() == pytest.approx(np.mean(expected), abs=1e-5)
    assert next_word(logits, ids, real, torch.tensor(8.0)).item() == pytest.approx(sum(expected) / 8, abs=1e-5)
