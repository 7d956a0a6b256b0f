"""A process that works on strangers' pictures, one after the other: what a picture does to it, it does to nobody else.

    python -m stages.download.decoder '{"wanted": [...], "memory": bytes, "seconds": s}'

It reads requests from its standard input, writes answers to its standard output (`messages`), and ends with its input.
What it takes is bounded by the kernel: memory beyond the limit is refused, and at the end of a picture's CPU time the
process is ended (SIGPROF). CPU time and no clock, so that a picture comes to the same on a busy machine.
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
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})  # whatever the worker does with it
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _limit_memory(limits["memory"])
    work = _Work(Wanted(*limits["wanted"]), requests, answers)
    os.dup2(1, 2)  # to nowhere
    answers.write(messages.signal(messages.READY))
    while header := requests.read(messages.REQUEST.size):
        task, size = messages.REQUEST.unpack(header)
        signal.setitimer(signal.ITIMER_PROF, limits["seconds"])
        answer = messages.pack(work(task, size))
        signal.setitimer(signal.ITIMER_PROF, 0)
        answers.write(answer)


class _Work:
    """Reads pictures, and makes what is wanted of them."""

    def __init__(self, wanted: Wanted, requests: IO[bytes], answers: IO[bytes]) -> None:
        self._wanted = wanted
        self._requests = requests
        self._answers = answers

    def __call__(self, task: bytes, size: int) -> Answer:
        make = {messages.CONVERT: convert, messages.LOOK: look}[task]
        try:
            return make(self._requests.read(size), self._wanted, self._wait_for_turn)
        except MemoryError:
            return Answer("too_large", "it takes more memory than a picture may")
        except Exception as error:  # noqa: BLE001 - it is told, and the next picture's turn comes
            return Answer("error", f"{type(error).__name__}: {error}")

    def _wait_for_turn(self) -> None:
        self._answers.write(messages.signal(messages.LARGE))
        self._requests.read(len(messages.GO))


def _take_stdout() -> IO[bytes]:
    """The standard output for answers alone: what a library prints goes nowhere."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return answers


def _end_with_input() -> None:
    """End at once, even in the midst of a picture, when whoever asked is gone."""
    hung_up = select.poll()
    hung_up.register(0, 0)
    hung_up.poll()
    os._exit(0)


def _limit_memory(more: int) -> None:
    """Have the kernel refuse data beyond what the process holds now and so many bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[5])
    limit = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


if __name__ == "__main__":
    main()
