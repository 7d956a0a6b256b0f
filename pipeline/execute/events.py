"""What happens in a run, as an executor tells it to the display."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from pipeline.execute.job import Report
from pipeline.execute.schedule import Schedule
from stages.errors import UserError
from stages.io.outages import StorageLostError
from stages.words import first_line


@dataclass(frozen=True)
class Event:
    """A change in a shard's state, or a stage that cannot begin (`waiting`) or has no hope (`stopped`)."""

    kind: Literal["started", "done", "retried", "failed", "waiting", "stopped"]
    node: str
    """A stage, where all its nodes are meant."""
    shard: str = ""
    """Of which shard; "" with `waiting` and `stopped`."""
    report: Report | None = None
    """With `done`."""
    error: str = ""
    """One line, with all that are not well."""

    @property
    def trouble(self) -> str:
        """A line for people; "" where all is well."""
        where = " ".join(word for word in (self.kind, self.node, self.shard) if word)
        return f"{where}: {self.error}" if self.error else ""

    @property
    def remark(self) -> str:
        """What a file's reader left out of it, with `done`; "" where it took everything."""
        return f"damaged: {self.node}: {self.report.damage}" if self.report and self.report.damage else ""


class Listener(Protocol):
    """Hears of every event; `schedule` holds the counts."""

    def __call__(self, event: Event, schedule: Schedule) -> None:
        """Take note of an event."""


def one_line(error: BaseException) -> str:
    """An exception as one line: its type, unless it was written for people, and the first line that says something."""
    text, kind = first_line(error), type(error).__name__
    return text if isinstance(error, UserError | StorageLostError) or text == kind else f"{kind}: {text}"
