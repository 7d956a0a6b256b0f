"""Whether it is the shard that is bad, or who works on it.

A worker whose disk is full or whose GPU is in an error state fails in milliseconds, and so takes shard after shard. Who
fails at several shards in a row is taken for sick: another one takes its place, and its failures count against none of
the shards. Where one after the other is sick and nobody is well, new workers are no help: the stage stops.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final, Literal

from pipeline.execute.task import Task

IN_A_ROW: Final = 3
"""Failures of one worker without a success between them, after which it is replaced."""
REPLACED: Final = 3
"""Workers replaced without a success of any between them, after which there is no hope if nobody else may be well."""

Verdict = Literal["well", "sick", "hopeless"]


@dataclass
class Crew:
    """The workers of one stage, by name."""

    replaced: int = 0
    """How many were replaced since anybody has worked a shard."""
    _failures: dict[str, list[Task | None]] = field(default_factory=dict)
    """Of every worker since its latest success: the shards, None where it could not even be set up."""
    _late: set[str] = field(default_factory=set)
    """Who came in the place of a sick one, and has not worked a shard yet."""

    @property
    def is_in_doubt(self) -> bool:
        """Whether somebody has failed since its latest success."""
        return bool(self._failures)

    def joined(self, worker: str) -> None:
        """It is hired."""
        if self.replaced:
            self._late.add(worker)

    def succeeded(self, worker: str) -> None:
        """It has worked a shard."""
        self._failures.pop(worker, None)
        self._late.clear()
        self.replaced = 0

    def failed(self, worker: str, task: Task | None, others: Collection[str], *, last: bool = False) -> Verdict:
        """It raised.

        Args:
            worker: who.
            task: at which shard; None while it was set up.
            others: the workers beside it.
            last: whether the shard has one attempt left.

        Returns:
            `sick` where another one should take its place, `hopeless` where that has not helped.
        """
        own = self._failures.setdefault(worker, [])
        own.append(task)
        if self.replaced >= REPLACED and all(other in self._late or self._failures.get(other) for other in others):
            return "hopeless"
        if task is None or (len(own) >= IN_A_ROW and len(set(own)) > 1):
            return "sick"
        return "sick" if last and len(own) > 1 and not others else "well"

    def blamed_for(self, worker: str) -> list[Task]:
        """The failures that are a sick worker's; none where it was one and the same shard again and again."""
        found = [task for task in self._failures.get(worker, ()) if task]
        return found if len(set(found)) > 1 else []

    def dismissed(self, worker: str) -> None:
        """It is gone, and another one takes its place."""
        self.replaced += bool(self._failures.pop(worker, None))
        self._late.discard(worker)
