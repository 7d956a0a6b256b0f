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

from stages.demo.web import WORLD, serve
from stages.demo.world import read_parameters

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
            _wait_for(web, port, read_parameters(folder).name)
            yield
        finally:
            web.terminate()


def _wait_for(web: subprocess.Popen[str], port: int, world: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while _ask(port, "GET") != world:
        if web.poll() is not None or time.monotonic() > deadline:
            web.kill()
            said = web.stderr.read().strip().splitlines() if web.stderr else []
            raise OSError(said[-1] if said else f"the web on port {port} does not answer")
        time.sleep(POLL)


def _give_way(port: int) -> None:
    """Have a web that outlived its run end; whatever else listens on the port is not asked to."""
    deadline = time.monotonic() + PATIENCE
    while _ask(port, "GET") and _ask(port, "DELETE") and time.monotonic() < deadline:
        time.sleep(POLL)


def _ask(port: int, method: str) -> str | None:
    """The world whose web answers on the port; None if nobody does, or somebody else."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request(method, "/")
        return connection.getresponse().headers[WORLD]
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
