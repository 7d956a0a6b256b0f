"""The worker's decoder processes: started on demand, and replaced when a picture was too much for one.

Whatever a picture does, it costs its own row. One that takes more than its CPU time is `too_large`. One under which two
processes die, the second of them a fresh one, is `not_an_image`; if they were killed from outside, as by a system
without memory, or came to no end on the clock, which a machine that was frozen does too, `error`.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock, Semaphore
from typing import IO, Any, Final

from stages.download import messages
from stages.download.messages import Answer

MODULE = "stages.download.decoder"
"""What the processes run."""
PATIENCE = 10
"""How often a picture's CPU time may pass on the clock before its process is ended as one that has no end."""
SILENCE = 2
"""How often the time on the clock may pass before a process that should have ended itself is."""
STARTING: Final = 300.0
"""Seconds on the clock after which a process is given up that is not ready: on a busy machine it takes a while."""
_ENVIRONMENT: Final = {
    "OMP_NUM_THREADS": "1",
    # Keep at hand what the next picture needs, up to 32 MiB: to ask for it anew each time takes a fifth of the time.
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "MALLOC_TRIM_THRESHOLD_": str(2**25),
}
_PIPE: Final = 2**18
"""Bytes that a pipe holds, so that most pictures go through it at once."""


class DeadError(Exception):
    """A process died; says what that means for the picture if it was not the first."""

    def __init__(self, verdict: Answer) -> None:
        super().__init__(verdict.words)
        self.verdict = verdict


class Decoders:
    """At most `count` processes. Safe to call from several threads.

    Args:
        count: pictures that are worked on at a time; of those that take much memory, one.
        seconds: of CPU time for a picture.
        options: what else the processes are started with; see `stages.download.decoder`.
    """

    def __init__(self, count: int, seconds: float, options: dict[str, Any]) -> None:
        self._options = {**options, "seconds": seconds, "clock_seconds": PATIENCE * seconds}
        self._free = Semaphore(count)
        self._one_large = Lock()
        self._idle: list[DecoderProcess] = []
        self._end = weakref.finalize(self, _end_all, self._idle)

    def __call__(self, task: bytes, read: Callable[[], bytes]) -> Answer:
        """What becomes of a picture, whose bytes are read when its turn has come.

        Raises:
            OSError: no process can be started, which is no picture's fault; or the bytes cannot be read.
        """
        with self._free:
            encoded = read()
            try:
                return self._ask(self._take(), task, encoded)
            except DeadError:
                pass  # perhaps of what came before
            try:
                return self._ask(DecoderProcess(self._options), task, encoded)
            except DeadError as death:
                return death.verdict

    def _take(self) -> DecoderProcess:
        try:
            return self._idle.pop()
        except IndexError:
            return DecoderProcess(self._options)

    def _ask(self, process: DecoderProcess, task: bytes, encoded: bytes) -> Answer:
        try:
            answer = process.ask(task, encoded, self._one_large)
        except BaseException:
            process.end()
            raise
        if process.is_alive:
            self._idle.append(process)
        return answer


class DecoderProcess:
    """One process, and the pipes to it; used by one thread at a time."""

    def __init__(self, options: dict[str, Any]) -> None:
        """Start it.

        Raises:
            OSError: it cannot be started.
        """
        self._too_large = Answer("too_large", f"decoding it takes more than {options['seconds']:g} s")
        self._late = Answer("error", f"not decoded within {options['clock_seconds']:g} s")
        self._silence = STARTING
        with tempfile.TemporaryFile() as errors:  # once it is ready, it silences what codecs say of strangers' bytes
            self._start(options, errors)
        self._silence = SILENCE * options["clock_seconds"]

    def _start(self, options: dict[str, Any], errors: IO[bytes]) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - this program's own module
            [sys.executable, "-P", "-m", MODULE, json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            bufsize=0,
            env={**os.environ, **_ENVIRONMENT, "PYTHONPATH": _path()},
            process_group=0,  # Ctrl-C at the terminal is for the worker
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._in, False)
        with suppress(OSError):  # a user's pipes may hold so much in all
            for pipe in (self._in, self._out):
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE)
        self._expect_ready(errors)

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked again."""
        return self._process.returncode is None

    def ask(self, task: bytes, encoded: bytes, one_large: Lock) -> Answer:
        """What becomes of a picture.

        Raises:
            DeadError: the process died of it, or had before, or does nothing any more.
        """
        try:
            self._write(messages.REQUEST.pack(task, len(encoded)), encoded)
            kind, answer = self._receive()
            if kind != messages.LARGE:
                return answer
            with one_large:
                self._write(messages.GO)
                return self._receive()[1]
        except (EOFError, BrokenPipeError):
            return self._last_words()
        except TimeoutError as error:
            raise DeadError(self._late) from error

    def end(self) -> None:
        """End it now."""
        self._process.kill()
        self._process.communicate()

    def _expect_ready(self, errors: IO[bytes]) -> None:
        try:
            self._receive()
        except (EOFError, TimeoutError) as error:
            self.end()
            errors.seek(0)
            said = errors.read().decode(errors="replace").splitlines() or [""]
            code = self._process.returncode
            raise OSError(f"a decoder process does not start (exit code {code}): {said[-1] or error}") from error

    def _last_words(self) -> Answer:
        self._process.wait()
        self.end()
        code = self._process.returncode
        if code == -signal.SIGPROF:
            return self._too_large
        if code == -signal.SIGALRM:
            raise DeadError(self._late)
        if code == -signal.SIGKILL:
            raise DeadError(Answer("error", "its decoder was killed, perhaps because memory ran out"))
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        raise DeadError(Answer("not_an_image", f"its decoder crashed ({name})"))

    def _write(self, *parts: bytes) -> None:
        wait = self._waiting(self._in, select.POLLOUT)
        messages.write(self._in, *parts, until_free=wait)

    def _receive(self) -> tuple[bytes, Answer]:
        """The next message, and what it says if it is an answer; read with as few calls as it comes in pieces.

        Raises:
            EOFError: the process is no more. It ends itself when it is late.
            TimeoutError: it does not even do that.
        """
        message, size = bytearray(), messages.HEADER.size
        wait = self._waiting(self._out, select.POLLIN)
        while len(message) < size:
            wait()
            arrived = os.read(self._out, _PIPE)
            if not arrived:
                raise EOFError
            message += arrived
            if size == messages.HEADER.size <= len(message):
                size += messages.size_of_rest(message)
        return messages.unpack(message)

    def _waiting(self, pipe: int, event: int) -> Callable[[], None]:
        """What waits for a pipe, each time, all together no longer than a process may be silent."""
        poll, end = select.poll(), time.monotonic() + self._silence
        poll.register(pipe, event)

        def wait() -> None:
            if not poll.poll(1000 * max(0.0, end - time.monotonic())):
                raise TimeoutError(f"no sign of a decoder process for {self._silence:g} s")

        return wait


def _path() -> str:
    """Where the processes find what this one has found."""
    return os.pathsep.join(str(Path(folder).absolute()) for folder in sys.path)


def _end_all(processes: list[DecoderProcess]) -> None:
    while processes:
        processes.pop().end()
