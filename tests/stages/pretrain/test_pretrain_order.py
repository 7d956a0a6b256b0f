"""Which image comes when."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.training.order import Line, Mixture, mix

sizes = st.lists(st.integers(1, 9), min_size=1, max_size=8)


def line(sizes: list[int], source: str = "web", window: int = 3, seed: int = 0, first: int = 0) -> Line:
    return Line(source, tuple(range(first, first + len(sizes))), tuple(sizes), window, seed)


def everything(sizes: list[int], first: int = 0) -> Counter[tuple[int, int]]:
    return Counter((first + shard, image) for shard, size in enumerate(sizes) for image in range(size))


@given(sizes=sizes, window=st.integers(1, 9), seed=st.integers(0, 3))
def test_every_epoch_has_every_image_once(sizes, window, seed):
    one = line(sizes, window=window, seed=seed)
    drawn = [one.at(position) for position in range(3 * sum(sizes))]
    for epoch in range(3):
        found = drawn[epoch * sum(sizes) : (epoch + 1) * sum(sizes)]
        assert {draw.epoch for draw in found} == {epoch}
        assert Counter((draw.shard, draw.image) for draw in found) == everything(sizes)


@given(sizes=sizes, window=st.integers(1, 4))
def test_few_shards_are_under_way_at_a_time(sizes, window):
    """Once an image of a later window has come, none of an earlier one comes in that epoch."""
    one = line(sizes, window=window)
    shards = [one.at(position).shard for position in range(sum(sizes))]
    spans = {shard: (shards.index(shard), len(shards) - 1 - shards[::-1].index(shard)) for shard in set(shards)}
    for place in range(len(shards)):
        assert sum(first <= place <= last for first, last in spans.values()) <= window


@given(web=sizes, human=sizes)
def test_without_shares_the_epochs_of_all_sources_end_together(web, human):
    both = Mixture([line(web), line(human, "human", first=len(web))], None)
    size = sum(web) + sum(human)
    for epoch in range(2):
        drawn = [both.at(position) for position in range(epoch * size, (epoch + 1) * size)]
        assert {draw.epoch for draw in drawn} == {epoch}
        found = Counter((draw.shard, draw.image) for draw in drawn)
        assert found == everything(web) + everything(human, first=len(web))


@given(
    shares=st.lists(st.floats(0.01, 100), min_size=1, max_size=4),
    first=st.integers(0, 10_000),
    batch=st.integers(1, 200),
)
def test_every_stretch_has_every_source_by_its_share(shares, first, batch):
    lines = [line([5, 4], str(number), first=2 * number) for number in range(len(shares))]
    mixture = Mixture(lines, {str(number): share for number, share in enumerate(shares)})
    drawn = Counter(mixture.at(position).shard // 2 for position in range(first, first + batch))
    for number, share in enumerate(shares):
        assert drawn[number] == pytest.approx(batch * share / sum(shares), abs=len(shares))


def test_epochs_sources_and_seeds_have_orders_of_their_own():
    orders = {
        tuple(line([10, 20], source, seed=seed).at(epoch * 30 + place)[:2] for place in range(30))
        for epoch in (0, 1)
        for seed in (0, 1)
        for source in ("web", "human")
    }
    assert len(orders) == 8


def test_the_order_stays_what_it_is():
    """A resumed training must find the order that it began with, under a newer version too."""
    found = [line([3, 2, 3], window=2).at(position)[:2] for position in range(8)]
    assert found == [(2, 2), (1, 0), (1, 1), (2, 1), (2, 0), (0, 2), (0, 0), (0, 1)]


def test_words_are_told_apart():
    assert mix("a", 12) != mix("a", 1, 2)
    assert 0 <= mix("a") < 2**63
