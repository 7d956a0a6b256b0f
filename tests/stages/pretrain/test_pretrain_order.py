"""Which image comes when."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from stages.pretrain.order import draws, mix


@given(images=st.integers(1, 40), part=st.integers(1, 9), workers=st.integers(1, 5), seed=st.integers(0, 3))
def test_every_epoch_has_every_image_once_whatever_the_workers(images, part, workers, seed):
    epochs, batch = 3, part * workers
    drawn = [
        draw
        for step in range(-(-epochs * images // batch))
        for rank in range(workers)
        for draw in draws(step * batch + rank * part, part, images=images, seed=seed)
    ]
    for epoch in range(epochs):
        assert Counter(draw.image for draw in drawn if draw.epoch == epoch) == Counter(range(images))
    assert drawn == draws(0, len(drawn), images=images, seed=seed)


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = {
        tuple(draw.image for draw in draws(epoch * 30, 30, images=30, seed=seed)) for epoch in (0, 1) for seed in (0, 1)
    }
    assert len(orders) == 4


def test_the_order_stays_what_it_is():
    """A resumed training must find the order that it began with, under a newer version too."""
    assert [draw.image for draw in draws(0, 8, images=8, seed=0)] == [6, 7, 0, 5, 4, 2, 1, 3]


def test_words_are_told_apart():
    assert mix("a", 12) != mix("a", 1, 2)
    assert 0 <= mix("a") < 2**63
