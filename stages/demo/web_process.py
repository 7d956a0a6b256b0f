"""The demo's web in a process of its own: a real web does not die with the program that downloads from it.

    python -m stages.demo.web_process <world folder> <port>

If the run is killed, the web goes on for its workers, which may be in the middle of a shard, and ends by itself once
nobody has asked for anything for a while. The next run has it give way.
"""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.demo.web import serve

LINGERS = 20.0
"""Seconds without a request, after the program that started it is gone, until the web ends."""
PATIENCE = 20.0
"""Seconds that a web may take to answer its first request, or to give way."""
POLL = 0.1


@contextmanager
def serve_apart(folder: Path, *, port: int) -> Iterator[None]:
    """The web of the world in this folder, in another process, until the context is left.

    Raises:
        OSError: it does not come up, for instance because somebody else listens on the port.
    """
    _give_way(port)
    command = [sys.executable, "-m", "stages.demo.web_process", str(folder), str(port)]
    # in a process group of its own: Ctrl-C in a terminal is the program's to answer, whose downloads may finish
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, process_group=0) as web:  # noqa: S603 - our own
        try:
            _wait_for(web, port)
            yield
        finally:
            web.terminate()


def _wait_for(web: subprocess.Popen[str], port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while _ask(port, "GET") is None:
        if web.poll() is not None or time.monotonic() > deadline:
            web.kill()
            said = web.stderr.read().strip().splitlines() if web.stderr else []
            raise OSError(said[-1] if said else f"the web on port {port} does not answer")
        time.sleep(POLL)


def _give_way(port: int) -> None:
    """Have a web that outlived its run end; anything else on the port refuses."""
    deadline = time.monotonic() + PATIENCE
    while _ask(port, "DELETE") is not None and time.monotonic() < deadline:
        time.sleep(POLL)


def _ask(port: int, method: str) -> int | None:
    """The status with which the port answers for `/`; None if nobody does, or it is no web."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request(method, "/")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def main() -> None:
    """Serve until told to end, or until the program that started this one is gone and all is quiet."""
    folder, port, parent = Path(sys.argv[1]), int(sys.argv[2]), os.getppid()
    try:
        with serve(folder, port=port) as web:
            while not web.closing.wait(POLL):
                if os.getppid() != parent and time.monotonic() - web.last_asked > LINGERS:
                    break
    except OSError as problem:
        sys.exit(problem.strerror or str(problem))


if __name__ == "__main__":
    main()
