"""A process that works on strangers' pictures, one after the other: what a picture does to it, it does to nobody else.

    python -m stages.download.decoder '{"wanted": [...], "memory": bytes, "seconds": s, "clock_seconds": s}'

It reads requests from its standard input, writes answers to its standard output (`messages`), and ends with its input.
What it takes is bounded by the kernel: memory beyond the limit is refused, and at the end of a picture's CPU time the
process is ended (SIGPROF). CPU time, so that a picture comes to the same on a busy machine; the clock (SIGALRM), which
goes on while the machine is frozen or the process stopped, ends what waits for nothing.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
import threading
from pathlib import Path
from typing import IO

from stages.download import messages
from stages.download.conversion import convert, look
from stages.download.messages import Answer, Wanted


def main() -> None:
    """Work until the input ends."""
    limits = json.loads(sys.argv[1])
    requests, answers = sys.stdin.buffer, _take_stdout()
    threading.Thread(target=_end_with_input, daemon=True).start()
    _limit_memory(limits["memory"])
    clock = _Clock(limits["seconds"], limits["clock_seconds"])
    work = _Work(Wanted(*limits["wanted"]), requests, answers, clock)
    os.dup2(1, 2)  # to nowhere
    messages.write(answers, messages.signal(messages.READY))
    while header := requests.read(messages.REQUEST.size):
        messages.write(answers, messages.pack(work(*messages.REQUEST.unpack(header))))


class _Clock:
    """Has the kernel end the process when a picture takes too long: in CPU time, or by the clock if it hangs."""

    def __init__(self, seconds: float, clock_seconds: float) -> None:
        self._timers = {signal.ITIMER_PROF: seconds, signal.ITIMER_REAL: clock_seconds}
        for number in (signal.SIGPROF, signal.SIGALRM):  # whatever the worker does with them
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF, signal.SIGALRM})

    def start(self) -> None:
        for timer, seconds in self._timers.items():
            signal.setitimer(timer, seconds)

    def stop(self) -> None:
        for timer in self._timers:
            signal.setitimer(timer, 0)


class _Work:
    """Reads pictures, and makes what is wanted of them."""

    def __init__(self, wanted: Wanted, requests: IO[bytes], answers: int, clock: _Clock) -> None:
        self._wanted = wanted
        self._requests = requests
        self._answers = answers
        self._clock = clock

    def __call__(self, task: bytes, size: int) -> Answer:
        make = {messages.CONVERT: convert, messages.LOOK: look}[task]
        self._clock.start()
        try:
            return make(self._requests.read(size), self._wanted, self._wait_for_turn)
        except MemoryError:
            return Answer("too_large", "it takes more memory than a picture may")
        except Exception as error:  # noqa: BLE001 - it is told, and the next picture's turn comes
            return Answer("error", f"{type(error).__name__}: {error}")
        finally:
            self._clock.stop()

    def _wait_for_turn(self) -> None:
        self._clock.stop()
        messages.write(self._answers, messages.signal(messages.LARGE))
        self._requests.read(len(messages.GO))
        self._clock.start()


def _take_stdout() -> int:
    """The standard output for answers alone, as a descriptor: what a library prints goes nowhere."""
    answers = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return answers


def _end_with_input() -> None:
    """End at once, even in the midst of a picture, when whoever asked is gone."""
    hung_up = select.poll()
    hung_up.register(0, 0)
    hung_up.poll()
    os._exit(0)


def _limit_memory(more: int) -> None:
    """Have the kernel refuse data beyond what the process holds now and so many bytes, and keep no core."""
    pages = int(Path("/proc/self/statm").read_text().split()[5])
    limit = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


if __name__ == "__main__":
    main()
