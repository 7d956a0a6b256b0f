"""The turns of a shard's requests, for the threads that make them.

A shard's download ends within `shard_seconds + max_seconds` (and the decoding of what has come by then), whatever its
hosts do: no request is begun after the one, and the requests for a row take no longer than the other in all. The time
that a row waits for its turn counts for the first only, so that no row is late that had no chance to begin. A thread
waits only while no row may begin: while all that are left are under way, or of hosts that are busy or paused.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from stages.download.statuses import RefusedError
from stages.download.turns import NEVER, Request, Turn, Turns


class Hosts:
    """The rows that are left of a shard. Safe to call from several threads.

    Args:
        urls: the rows' addresses, each passed by `request_url`.
        threads: how many requests a host may have under way.
        failures: after so many failed rows in a row a host is not asked any more.
        seconds: the time within which a row may be begun.
        retries: how many further attempts a row has.
        row_seconds: the time that the requests for a row may take, and how long hosts that say "later" are waited for.
    """

    def __init__(  # noqa: PLR0913 - limits, each with its name
        self, urls: Mapping[int, str], *, threads: int, failures: int, retries: int, seconds: float, row_seconds: float
    ) -> None:
        self._changed = threading.Condition()
        self._turns = Turns(
            [Request(row, url, row_seconds, retries) for row, url in urls.items()],
            threads=threads,
            failures=failures,
            patience=row_seconds,
            seconds=seconds,
            now=time.monotonic(),
            on_change=self._notify,
        )

    def take(self) -> Turn:
        """The next turn; waits while there is none. To be called until `done` has been true for every row."""
        with self._changed:
            while (turn := self._turns.deal(time.monotonic())) is None:
                wakes = self._turns.wakes
                self._changed.wait(None if wakes == NEVER else max(0.0, wakes - time.monotonic()))
            return turn

    def done(self, turn: Turn, refusal: RefusedError | None) -> bool:
        """Say how a turn went; True if its row is done with, False if it will have another turn."""
        with self._changed:
            return self._turns.done(turn, refusal, time.monotonic())

    def moved(self, turn: Turn, url: str) -> None:
        """Say that a turn has led to another address, for which its row waits now."""
        with self._changed:
            self._turns.moved(turn, url, time.monotonic())

    def stop(self) -> None:
        """Refuse whatever has not begun."""
        with self._changed:
            self._turns.stop(time.monotonic())
            self._changed.notify_all()

    def _notify(self) -> None:
        with self._changed:  # which whoever calls holds already, but for the one who makes this
            self._changed.notify()  # each time: of two rows that end at once only the first finds its host full
