"""The time that the requests for one image may take."""

from __future__ import annotations

import time


class Deadline:
    """One clock for everything that an image waits for: lookups, connections, handshakes, headers, bodies, attempts."""

    def __init__(self, seconds: float, silence: float) -> None:
        self._seconds = seconds
        self._silence = silence
        self._end = time.monotonic() + seconds

    def wait(self) -> float:
        """Seconds that the next wait may take: a server may be silent for so long, and the whole may last so long.

        Raises:
            TimeoutError: the time is over.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"not done within {self._seconds:g} s")
        return min(left, self._silence)

    def left(self) -> float:
        """Seconds that are left, at least 0."""
        return max(0.0, self._end - time.monotonic())
