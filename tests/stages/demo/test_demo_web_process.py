"""A web that outlives its run, and gives way to the next one."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from stages.demo.web_process import serve_apart
from stages.demo.world import write
from tests.ports import free_port


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def world(tmp_path: Path, port: int) -> Path:
    folder = tmp_path / "world"
    write(folder, images=30, human=0, seed=0, base_url=f"http://127.0.0.1:{port}")
    return folder


class Stranger(BaseHTTPRequestHandler):
    asked: ClassVar[set[str]] = set()

    def do_GET(self) -> None:
        self.asked.add(self.command)
        self.send_error(404)

    def do_DELETE(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/nothing", timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def test_it_serves_while_the_context_lasts(world: Path, port: int) -> None:
    with serve_apart(world, port=port):
        assert answers(port)
    assert not answers(port)


def test_it_outlives_a_killed_run_and_gives_way_to_the_next(world: Path, port: int) -> None:
    program = (
        "import sys; from pathlib import Path; from stages.demo.web_process import serve_apart\n"
        "with serve_apart(Path(sys.argv[1]), port=int(sys.argv[2])):\n"
        "    print('up', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(world), str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "up\n"
        run.send_signal(signal.SIGKILL)
    assert answers(port)
    with serve_apart(world, port=port):
        assert answers(port)
    assert not answers(port)


def test_another_web_on_its_port_is_not_taken_for_it(world: Path, port: int) -> None:
    """One that answers whatever it is asked; its answers would pass for pictures that are not there."""
    with HTTPServer(("127.0.0.1", port), Stranger) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        with pytest.raises(OSError, match=f"port {port}"), serve_apart(world, port=port):
            pass
        other.shutdown()
    assert Stranger.asked == {"GET"}


def test_a_port_that_is_taken(world: Path, port: int) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(OSError, match=f"port {port}"), serve_apart(world, port=port):
            pass
