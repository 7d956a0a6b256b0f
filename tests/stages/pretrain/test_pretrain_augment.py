"""Crops: within the image, reproducible, and of the size that the tower wants."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stages.models.vision.tower import View
from stages.training.augment import ASPECTS, Augmentation, augmented, crop

VIEW = View(lambda image: torch.zeros(3, 8, 10), (8, 10), (0.5, 0.4, 0.3), (0.2, 0.25, 0.5))


@given(width=st.integers(1, 300), height=st.integers(1, 300), seed=st.integers(0, 1000))
def test_a_crop_lies_in_the_image_and_shows_half_of_it_at_least(width, height, seed):
    left, top, right, bottom = crop(width, height, np.random.default_rng(seed))
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    if min(width, height) > 50:
        assert (right - left) * (bottom - top) >= 0.48 * width * height
        if (right - left, bottom - top) != (width, height):
            assert ASPECTS[0] * 0.95 <= (right - left) / (bottom - top) <= ASPECTS[1] * 1.05


def test_the_same_words_give_the_same_pixels_and_others_do_not():
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    first = augmented(image, VIEW, Augmentation(), 0, 1, "key")
    assert first.shape == (3, 8, 10)
    assert torch.equal(first, augmented(image, VIEW, Augmentation(), 0, 1, "key"))
    assert len({augmented(image, VIEW, Augmentation(), 0, epoch, "key").sum().item() for epoch in range(8)}) == 8


def test_pixels_are_normalised_by_channel():
    image = Image.new("RGB", (30, 30), (255, 0, 51))
    expected = torch.tensor([(1 - 0.5) / 0.2, (0 - 0.4) / 0.25, (0.2 - 0.3) / 0.5])
    torch.testing.assert_close(augmented(image, VIEW, Augmentation(), "x"), expected[:, None, None].expand(3, 8, 10))
