"""Who may try a shard again, and when."""

from __future__ import annotations

import pytest

from pipeline.execute.retries import LONGEST_PAUSE, LOST_WORKERS, Retries
from pipeline.execute.task import Hand, Task

TASK = Task("caption/a", "a-0")
ONE, NEIGHBOUR, FAR = Hand("one", "here"), Hand("neighbour", "here"), Hand("far", "there")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    monkeypatch.setattr("pipeline.execute.retries.PAUSE", 1.0)
    return Clock()


def test_a_shard_waits_longer_after_every_failure(clock):
    retries = Retries(clock)
    for pause in (1, 2, 4):
        assert retries.failed(TASK, ONE, attempts=9)
        clock.now += pause - 0.1
        assert not retries.may_try(TASK, ONE)
        clock.now += 0.2
        assert retries.may_try(TASK, ONE)
    for _ in range(20):
        retries.failed(TASK, ONE, attempts=99)
    clock.now += LONGEST_PAUSE + 0.1
    assert retries.may_try(TASK, ONE)
    assert retries.may_try(Task("caption/a", "a-1"), ONE)


def test_a_retry_is_another_workers_and_on_another_host_where_there_is_one(clock):
    retries = Retries(clock)
    retries.failed(TASK, ONE, attempts=3)
    clock.now = 10
    assert not retries.may_try(TASK, ONE, [NEIGHBOUR, FAR])
    assert not retries.may_try(TASK, NEIGHBOUR, [ONE, FAR])
    assert retries.may_try(TASK, FAR, [ONE, NEIGHBOUR])
    assert retries.may_try(TASK, NEIGHBOUR, [ONE])
    assert retries.may_try(TASK, ONE, [])
    retries.failed(TASK, FAR, attempts=3)
    clock.now = 20
    assert retries.may_try(TASK, NEIGHBOUR, [ONE, FAR])
    assert not retries.may_try(TASK, FAR, [ONE, NEIGHBOUR])
    retries.failed(TASK, NEIGHBOUR, attempts=9)
    clock.now = 30
    assert retries.may_try(TASK, FAR, [ONE, NEIGHBOUR])


def test_what_was_a_workers_fault_counts_against_no_shard(clock):
    retries = Retries(clock)
    assert retries.failed(TASK, ONE, attempts=2)
    assert not retries.failed(TASK, FAR, attempts=2)
    retries.forgive([TASK])
    assert retries.errors(TASK) == 1
    assert retries.attempts(TASK) == 2
    assert not retries.failed(TASK, NEIGHBOUR, attempts=2)


def test_lost_workers_are_counted_apart_from_errors(clock):
    retries = Retries(clock)
    assert retries.failed(TASK, ONE, attempts=2)
    assert all(retries.lost(TASK, ONE) for _ in range(LOST_WORKERS - 1))
    assert not retries.lost(TASK, ONE)
    assert retries.attempts(TASK) == LOST_WORKERS + 1
