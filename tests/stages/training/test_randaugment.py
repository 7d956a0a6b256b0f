"""RandAugment as BLIP has it: what each change does, and how often."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stages.training.randaugment import CHANGES, GREY, SHEAR, randaugment

SHIFTED = {7: 1, 8: 0}
"""The changes that shift, and the axis of an array that they do it along."""


def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)


@pytest.mark.parametrize("number", SHIFTED)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_shift_is_five_pixels_and_leaves_grey(number, sign):
    pixels, axis = noise(), SHIFTED[number]
    expected = np.roll(pixels, -int(5 * sign), axis)
    edge = slice(-5, None) if sign > 0 else slice(None, 5)
    expected[(slice(None),) * axis + (edge,)] = GREY
    assert np.array_equal(CHANGES[number](pixels, sign), expected)


def test_a_shear_moves_a_row_by_its_height():
    flat = np.full((41, 61, 3), 200, np.uint8)
    flat[:, 30] = 0
    sheared = CHANGES[5](flat, 1.0)
    moved = [abs(int(row[:, 0].argmin()) - 30) for row in sheared]
    assert moved == pytest.approx([SHEAR * row for row in range(41)], abs=1)


def test_a_turn_is_of_fifteen_degrees_about_the_middle():
    grey = np.full((101, 101, 3), GREY[0], np.uint8)  # as what fills the corners
    grey[50, 85:90] = 255
    rows, columns = np.nonzero(CHANGES[9](grey, 1.0)[..., 0] > 160)
    angle = math.degrees(math.atan2(50.5 - rows.mean(), columns.mean() - 50.5))
    assert angle == pytest.approx(15, abs=1.5)


def test_every_change_is_drawn_alike_and_made_half_the_time(monkeypatch):
    made = np.zeros(len(CHANGES), int)

    def count(number):
        def change(pixels, sign):
            made[number] += 1
            return pixels

        return change

    counted = tuple(count(number) for number in range(len(CHANGES)))
    monkeypatch.setattr("stages.training.randaugment.CHANGES", counted)
    rng = np.random.default_rng(0)
    for _ in range(5000):
        randaugment(noise()[:1, :1], rng)
    assert made == pytest.approx(np.full(len(CHANGES), 5000 * 2 * 0.5 / len(CHANGES)), rel=0.15)


@pytest.mark.parametrize("number", [0, 2, 3])
def test_brightness_and_sharpness_come_to_nothing_at_half_their_strength(number):
    assert np.array_equal(CHANGES[number](noise(), 1.0), noise())
