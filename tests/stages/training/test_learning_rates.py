"""The learning rate's course, by hand and by what the original code does in a loop."""

from __future__ import annotations

import math

import pytest

from stages.training.schedule import by_epoch_cosine, by_epoch_decayed, cosine


def test_the_rate_rises_in_a_line_and_falls_along_a_cosine():
    rule = {"lr": 1e-3, "min_lr": 1e-4, "warmup": 20, "steps": 100}
    assert cosine(1, **rule) == pytest.approx(1e-3 / 20)
    assert cosine(10, **rule) == pytest.approx(0.5e-3)
    assert cosine(20, **rule) == pytest.approx(1e-3)
    assert cosine(60, **rule) == pytest.approx((1e-3 + 1e-4) / 2)
    assert cosine(100, **rule) == pytest.approx(1e-4)


@pytest.mark.parametrize("warmup", [0, 5])
def test_a_rate_exists_at_the_edges(warmup):
    assert all(0 < cosine(step, lr=1e-3, min_lr=1e-9, warmup=warmup, steps=5) <= 1e-3 for step in range(1, 6))


@pytest.mark.parametrize("warmup", [0, 3, 50])
def test_blips_pretraining_decays_by_epoch_and_warms_up_in_the_first(warmup):
    epochs, epoch_steps, lr, floor, decay, first = 6, 10, 3e-4, 2.5e-4, 0.9, 1e-6
    expected = []
    for epoch in range(epochs):
        rate = max(floor, lr * decay**epoch)
        for step in range(epoch_steps):
            if epoch == 0 and step < warmup:
                rate = min(lr, first + (lr - first) * step / warmup)
            elif epoch == 0:
                rate = lr
            expected.append(rate)
    rule = {"lr": lr, "min_lr": floor, "decay": decay, "epoch_steps": epoch_steps, "warmup": warmup, "warmup_lr": first}
    assert [by_epoch_decayed(step + 1, **rule) for step in range(epochs * epoch_steps)] == pytest.approx(expected)


def test_blips_fine_tuning_has_one_value_of_a_cosine_per_epoch():
    found = [by_epoch_cosine(step + 1, lr=1e-5, min_lr=0.0, epoch_steps=4, steps=20) for step in range(20)]
    expected = [1e-5 * 0.5 * (1 + math.cos(math.pi * epoch / 5)) for epoch in range(5) for _ in range(4)]
    assert found == pytest.approx(expected)
