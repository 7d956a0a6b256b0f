"""How fast one host is asked: as fast as is allowed, until it says "later".

Then all of it is left alone for as long as it says, and at least for a second, two, four, ... while it goes on to say
so. After that it is asked half as much at once, and no faster than at the rate at which it has answered so far. Every
further answer lets it be asked a little more, so that in the end it is asked about as often as it likes.

Some pages say "later" (503) and mean for ever, beside others of their host that are well. So where an answer does not
say for certain that it is about the host, the host is left alone only if the next one is of that kind too.
"""

from __future__ import annotations

from typing import Final

FIRST_PAUSE: Final = 1.0
"""Seconds; doubled while the host goes on to say "later"."""
MARGIN: Final = 1.1
"""How much farther apart requests are than the answers that the host gave."""
RECOVERY: Final = 0.98
"""What every answer takes off the time between requests."""
UNMEASURED: Final = 0.25
"""Seconds between requests to a host that has said nothing but "later"."""
LONGEST_INTERVAL: Final = 2.0
SHORTEST_INTERVAL: Final = 0.001


class Pace:
    """The pace of one host. All times are seconds of one clock, which is the caller's.

    Args:
        most: how many requests it may ever have under way.
        patience: after so many seconds of nothing but "later" it is given up.
    """

    def __init__(self, most: int, patience: float) -> None:
        self._most = most
        self._patience = patience
        self._limit = float(most)
        self._interval = 0.0
        self._pause_end = self._last_begin = self._slowed = self._window = float("-inf")
        self._since: float | None = None
        self._pauses = 0
        self._doubts = 0
        self._answers = 0
        self._is_to_measure = False
        self.given_up = False
        """Whether it is not to be asked any more."""

    @property
    def limit(self) -> int:
        """How many requests it may have under way now."""
        return int(self._limit)

    @property
    def is_refused(self) -> bool:
        """Whether the host says nothing but "later" just now."""
        return self._since is not None

    @property
    def opens(self) -> float:
        """When the next request may begin."""
        return max(self._pause_end, self._last_begin + self._interval)

    def begin(self, now: float) -> None:
        """Say that a request begins."""
        if self._window == float("-inf"):
            self._window = now
        if self._is_to_measure:
            self._measure(now)
        self._last_begin = now

    def _measure(self, now: float) -> None:
        """Set the time between requests to what the host could take until it said "later", the pause included."""
        if self._answers:
            found = MARGIN * (now - self._window) / self._answers
            self._interval = min(max(self._interval, found), LONGEST_INTERVAL)
        elif not self._interval:
            self._interval = UNMEASURED
        self._window, self._answers, self._is_to_measure = now, 0, False

    def answered(self, begun: float) -> None:
        """Say that a request that began then was answered with anything but "later"."""
        self._doubts = 0
        self._answers += 1
        if begun < self._slowed:  # it was under way already, and tells nothing of how the host is since
            return
        self._since, self._pauses, self.given_up = None, 0, False
        self._limit = min(self._most, self._limit + 1 / self._limit)
        self._interval *= RECOVERY if self._interval > SHORTEST_INTERVAL else 0

    def later(self, begun: float, now: float, *, wait: float | None, of_host: bool, running: int) -> None:
        """Say that a request that began then was answered with "later".

        Args:
            begun: when the request began.
            now: the time.
            wait: the seconds that the answer names.
            of_host: whether it is about the host for certain.
            running: how many requests were under way, this one included.
        """
        self._doubts += 1
        is_certain = of_host and (wait is None or wait <= self._patience)
        if not is_certain and self._doubts == 1:
            return
        self._since = now if self._since is None else self._since
        if begun >= self._slowed:  # what was under way when the host was slowed down does not slow it down once more
            self._pauses += 1
            self._limit = max(1.0, min(self._limit, running) // 2)
            self._slowed, self._is_to_measure = now, True
        left = self._since + self._patience - now
        self.given_up = left <= 0
        pause = max(wait or 0.0, FIRST_PAUSE * 2 ** (self._pauses - 1))
        self._pause_end = max(self._pause_end, now + min(pause, self._patience / 2, left))
