"""The processes that decode: what a picture does to one costs its own row, and no process stays behind."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from loopback import Run, Web, encoded, picture

from stages.download import decoders as module
from stages.download import fit as fit_module
from stages.download.decoders import DecoderProcess, Decoders
from stages.download.messages import CONVERT, REQUEST, Answer, Sizes, Wanted

WANTED = Wanted(32, "jpg", 90, 0, None, 10**8)
GOOD = encoded(picture(24, 16))
STORED_AS_IT_CAME = Answer("success", None, Sizes(24, 16, 24, 16))


def start(count: int = 2, seconds: float = 60.0) -> Callable[[bytes], Answer]:
    decoders = Decoders(count, seconds, {"wanted": WANTED, "memory": 256 * 2**20})
    return lambda encoded: decoders(CONVERT, lambda: encoded)


@pytest.fixture(autouse=True)
def _fragile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MODULE", "fragile_decoder")


@pytest.fixture(scope="module")
def ask() -> Callable[[bytes], Answer]:
    """Two processes for several tests."""
    module.MODULE = "fragile_decoder"
    return start()


def is_running(process: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


def test_a_picture_that_crashes_its_decoder_costs_its_own_row(ask: Callable[[bytes], Answer]) -> None:
    crash = f"signal:{signal.SIGSEGV:d}".encode()
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, [GOOD, crash, GOOD, GOOD, crash, GOOD]))
    crashed = Answer("not_an_image", "its decoder crashed (SIGSEGV)")
    good = STORED_AS_IT_CAME
    assert answers == [good, crashed, good, good, crashed, good]


def test_a_decoder_that_is_killed_from_outside_says_nothing_of_the_picture(
    ask: Callable[[bytes], Answer], tmp_path: Path
) -> None:
    assert ask(f"signal:{signal.SIGKILL:d}".encode()).status == "error"
    assert ask(b"die once:" + os.fsencode(tmp_path / "died")).status == "not_an_image"  # of what it then is: no bytes
    assert ask(GOOD) == STORED_AS_IT_CAME


def test_work_without_an_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 1000)  # this machine may be busy
    ask = start(1, 0.2)
    assert ask(b"spin:") == Answer("too_large", "decoding it takes more than 0.2 s")
    assert ask(GOOD) == STORED_AS_IT_CAME


def test_waiting_without_an_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 1)
    ask = start(1, 0.2)
    for hangs in (b"hang:", b"deaf:"):
        assert ask(hangs) == Answer("error", "not decoded within 0.2 s")


def test_a_process_that_is_stopped_while_it_answers_says_all() -> None:
    process = DecoderProcess({"wanted": WANTED, "memory": 256 * 2**20, "seconds": 60, "clock_seconds": 60})
    picture = b"large answer:"
    process._write(REQUEST.pack(CONVERT, len(picture)), picture)
    pipe, size = process._out, bytearray(4)
    while fcntl.ioctl(pipe, termios.FIONREAD, size) or int.from_bytes(size, "little") < fcntl.fcntl(
        pipe, fcntl.F_GETPIPE_SZ
    ):
        time.sleep(0.01)
    os.kill(process._process.pid, signal.SIGSTOP)
    os.kill(process._process.pid, signal.SIGCONT)
    assert len(process._receive()[1].content or b"") == 2**22
    process.end()


def test_a_frozen_moment_costs_no_picture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The clock goes on while a process is stopped; what its alarm ends is tried once more."""
    monkeypatch.setattr(module, "PATIENCE", 1)
    ask = start(1, 1.0)
    assert ask(b"hang once:" + os.fsencode(tmp_path / "hung")).status == "not_an_image"  # of what it then is: no bytes


def test_memory_beyond_the_limit_is_refused(ask: Callable[[bytes], Answer]) -> None:
    assert ask(b"eat:") == Answer("too_large", "it takes more memory than a picture may")
    assert ask(GOOD) == STORED_AS_IT_CAME


def test_what_a_library_raises_or_prints_goes_no_further(ask: Callable[[bytes], Answer]) -> None:
    assert ask(b"raise:out of order") == Answer("error", "RuntimeError: out of order")
    assert ask(b"print:").status == "not_an_image"
    assert ask(GOOD) == STORED_AS_IT_CAME


def test_large_pictures_are_decoded_one_at_a_time(ask: Callable[[bytes], Answer], tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, [b"large:" + os.fsencode(tmp_path / "log")] * 4))
    assert (tmp_path / "log").read_text() == "()" * 4


def processes_of(ask: Callable[[bytes], Answer], count: int) -> list[tuple[int, int]]:
    """Process and process group of whoever answered."""
    with ThreadPoolExecutor(count) as pool:
        answers = pool.map(ask, [b"process:"] * count)
    pairs = [str(answer.words).removeprefix("RuntimeError: ").split() for answer in answers]
    return [(int(process), int(group)) for process, group in pairs]


def test_there_are_no_more_of_them_than_asked_for_and_they_are_used_again(ask: Callable[[bytes], Answer]) -> None:
    found = processes_of(ask, 12)
    assert len(set(found)) <= 2
    assert all(group == process != os.getpgid(0) for process, group in found)  # the terminal's Ctrl-C is not for them


def test_one_that_died_while_idle_is_replaced() -> None:
    ask = start(1)
    ((first, _),) = processes_of(ask, 1)
    os.kill(first, signal.SIGKILL)
    assert ask(GOOD) == STORED_AS_IT_CAME
    ((second, _),) = processes_of(ask, 1)
    assert second != first


def test_they_end_with_whoever_asked() -> None:
    ask = start(1)
    ((process, _),) = processes_of(ask, 1)
    del ask
    assert not is_running(process)


WORKER = """
import sys, threading
from stages.download import decoders
decoders.MODULE = "fragile_decoder"
from test_download_decoders import processes_of, start
ask = start(1)
print(processes_of(ask, 1)[0][0], flush=True)
ask(b"spin:")
"""


def test_they_end_with_a_worker_that_is_killed_even_in_the_midst_of_a_picture() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    worker = subprocess.Popen([sys.executable, "-c", WORKER], stdout=subprocess.PIPE, env=environment)
    assert worker.stdout is not None
    process = int(worker.stdout.readline())
    while "\nState:\tR" not in Path(f"/proc/{process}/status").read_text():  # the last picture has begun
        time.sleep(0.01)
    worker.kill()
    worker.communicate()
    until = time.monotonic() + 60
    while is_running(process):
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_process_that_does_not_start_is_no_pictures_fault(
    monkeypatch: pytest.MonkeyPatch, web: Web, download: Run
) -> None:
    monkeypatch.setattr(module, "MODULE", "no_such_module")
    monkeypatch.setattr(fit_module, "_decoders", fit_module._decoders.__wrapped__)  # not those of other tests
    with pytest.raises(OSError, match=r"does not start \(exit code 1\): .*No module named no_such_module"):
        download([{"url": web.url("/good.jpg")}] * 5)
