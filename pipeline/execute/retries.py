"""How often a shard has failed, where, and who may try it again when.

A retry waits a little, longer each time, and goes to a worker that has not failed at the shard, on another host where
there is one. A lost worker counts apart from an error: a lost host is no fault of the shard's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

from pipeline.execute.task import Hand, Task

LOST_WORKERS: Final = 5
"""How many workers may die under one shard before it is set aside: it may be what kills them."""
PAUSE = 1.0
"""Seconds before the first retry of a shard; each pause is twice as long as the one before it."""
LONGEST_PAUSE: Final = 60.0


@dataclass
class _Tries:
    """What has happened to a shard so far."""

    errors: int = 0
    """Those that count against it."""
    losses: int = 0
    tried_by: list[Hand] = field(default_factory=list)
    not_before: float = 0.0


class Retries:
    """The failures of a run."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tries: dict[Task, _Tries] = {}

    def failed(self, task: Task, by: Hand, attempts: int) -> bool:
        """An attempt raised, or ran past its deadline.

        Returns:
            Whether the shard may be tried again: it has failed fewer than `attempts` times.
        """
        tries = self._note(task, by)
        tries.errors += 1
        return tries.errors < attempts

    def lost(self, task: Task, by: Hand) -> bool:
        """The worker died under the shard.

        Returns:
            Whether the shard may be tried again.
        """
        tries = self._note(task, by)
        tries.losses += 1
        return tries.losses < LOST_WORKERS

    def _note(self, task: Task, by: Hand) -> _Tries:
        tries = self._tries.setdefault(task, _Tries())
        tries.tried_by.append(by)
        tries.not_before = self._clock() + min(PAUSE * 2 ** (len(tries.tried_by) - 1), LONGEST_PAUSE)
        return tries

    def forgive(self, tasks: Iterable[Task]) -> None:
        """An error of each was its worker's."""
        for task in tasks:
            if task in self._tries:
                self._tries[task].errors -= 1

    def attempts(self, task: Task) -> int:
        """How often the shard has been tried without success."""
        return len(self._tries[task].tried_by) if task in self._tries else 0

    def errors(self, task: Task) -> int:
        """How many failures count against the shard."""
        return self._tries[task].errors if task in self._tries else 0

    def may_try(self, task: Task, hand: Hand, others: Collection[Hand] = ()) -> bool:
        """Whether a worker is the one to try a shard now.

        Args:
            task: the shard.
            hand: a worker that is free.
            others: those beside it, free or not.
        """
        tries = self._tries.get(task)
        if tries is None:
            return True
        if self._clock() < tries.not_before:
            return False
        names, hosts = {by.name for by in tries.tried_by}, {by.host for by in tries.tried_by}
        fresh = [other for other in others if other.name not in names]
        if hand.name in names:
            return not fresh
        return hand.host not in hosts or all(other.host in hosts for other in fresh)
