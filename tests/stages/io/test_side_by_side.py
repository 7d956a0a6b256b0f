from __future__ import annotations

from collections.abc import Iterator

import pytest

from stages.io import side_by_side as module
from stages.io.side_by_side import side_by_side


def test_results_come_with_their_items_in_order_and_no_more_are_taken_than_may_be_in_memory():
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10):
            taken.append(number)
            yield number

    for done, (item, square) in enumerate(side_by_side(lambda n: n * n, items(), threads=3, at_once=4)):
        assert (item, square) == (done, done**2)
        assert len(taken) <= done + 4
    assert taken == list(range(10))


def test_what_the_work_raises_is_raised():
    with pytest.raises(ZeroDivisionError):
        list(side_by_side(lambda n: 1 // n, [2, 1, 0], threads=2, at_once=2))


def test_items_are_taken_until_they_fill_the_memory_meant_for_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "HELD", 100)
    taken: list[int] = []

    def items() -> Iterator[int]:
        for size in [30, 30, 30, 30, 500, 1, 1, 1]:
            taken.append(size)
            yield size

    held = []
    for item, _ in side_by_side(abs, items(), threads=2, at_once=4, size=abs):
        held.append(sum(taken))
        taken.remove(item)
    assert held == [120, 590, 560, 530, 500, 3, 2, 1]
