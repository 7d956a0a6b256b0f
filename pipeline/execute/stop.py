"""Stopping a run from outside: the first signal lets the shards under way finish, a second one does not."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer
from types import FrameType
from typing import NoReturn

from stages import stopping

GRACE = 30
"""Seconds that shards under way have to finish, and trainings to leave a checkpoint."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """The run ends here; what is committed stays, and the same command goes on."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.exit_code = 128 + number
        """As shells have it: 130 after Ctrl-C, 143 after SIGTERM."""


class Stop:
    """Whether somebody wants the run to end. An executor then starts nothing new, and returns when nothing runs."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._number = 0
        self._timer: Timer | None = None

    @property
    def requested(self) -> bool:
        """Whether there was a signal."""
        return bool(self._number)

    def now(self) -> NoReturn:
        """End the run.

        Raises:
            Stopped: always.
        """
        raise Stopped(self._number)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear SIGINT and SIGTERM in the block, whoever heard them before.

        Raises:
            Stopped: there was a second signal, or what was under way when the first one came was not over in time.
        """
        before = {number: signal.signal(number, self._hear) for number in SIGNALS}
        stopping.listen(lambda: self.requested)
        try:
            yield
        except KeyboardInterrupt:  # Ray makes a plain one of ours
            self.now()
        finally:
            if self._timer:
                self._timer.cancel()
            stopping.listen(None)
            for number, handler in before.items():
                signal.signal(number, handler or signal.SIG_DFL)

    def _hear(self, number: int, _: FrameType | None) -> None:
        if self._number:
            self.now()
        self._number = number
        self._timer = Timer(GRACE, os.kill, (os.getpid(), number))  # the second signal, if nobody sends it
        self._timer.start()
        self._say(
            f"stopping: shards under way may finish, and trainings leave a checkpoint, within {GRACE} s; "
            "a second signal stops at once"
        )


def stop_at_sigterm() -> None:
    """Have SIGTERM end the process as Ctrl-C does, also where nothing is under way that could finish."""

    def stop(number: int, _: FrameType | None) -> None:
        raise Stopped(number)

    signal.signal(signal.SIGTERM, stop)
