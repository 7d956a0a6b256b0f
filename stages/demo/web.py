"""A small web on the loopback: it draws the demo world's pictures for whoever asks, and fails as the real one does.

    with serve(folder, port=8765):
        ...

Which urls fail, and how, follows from the url alone, so that a run and its repetition meet the same web.
"""

import hashlib
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal, NamedTuple

from stages.demo.render import form_at, rendered_at
from stages.demo.scene import Place, Stream
from stages.demo.world import Parameters, read_parameters

Fault = Literal["missing", "error_once", "timeout", "truncated", "html", "noai"]
FAULTS: Mapping[Fault, float] = {
    "missing": 0.015,
    "error_once": 0.01,
    "timeout": 0.003,
    "truncated": 0.01,
    "html": 0.01,
    "noai": 0.01,
}
"""Shares of the urls that fail in each way."""

HELD_SECONDS = 15.0
"""How long a timeout holds its connection at most."""

WORLD = "Demo-World"
"""The header that tells this web, and whose world it shows, from whoever else may answer on its port."""
PAGE = b"<!doctype html><title>Sorry</title><p>This picture has moved."
TYPES = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp"}


class Answer(NamedTuple):
    """What goes over the wire; more bytes may be announced than come."""

    status: int
    kind: str
    data: bytes
    announced: int
    headers: tuple[tuple[str, str], ...] = ()


class Web(ThreadingHTTPServer):
    """The server; `asked` counts the requests of every path."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, port: int, parameters: Parameters, faults: Mapping[Fault, float]) -> None:
        self.parameters = parameters
        self.faults = faults
        self.asked: Counter[str] = Counter()
        self.asked_lock = threading.Lock()
        self.closing = threading.Event()
        self.last_asked = time.monotonic()
        super().__init__(("127.0.0.1", port), Handler)

    @property
    def base_url(self) -> str:
        """What the urls of this web begin with."""
        return f"http://127.0.0.1:{self.server_port}"

    def count(self, path: str) -> int:
        """Count a request; the first of a path is 1."""
        with self.asked_lock:
            self.last_asked = time.monotonic()
            self.asked[path] += 1
            return self.asked[path]

    def picture(self, path: str) -> tuple[bytes, str] | None:
        """The bytes and the extension of a picture, or None if this web has no such one."""
        found = re.fullmatch(r"/images/(\d{8})\.(\w+)", path)
        if not found or int(found[1]) >= self.parameters.images:
            return None
        place = Place(self.parameters.seed, Stream.WEB, int(found[1]))
        return (rendered_at(place).data, found[2]) if form_at(place).extension == found[2] else None


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Web
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """A picture, or what goes wrong instead."""
        path = self.path.split("?")[0]
        asked = self.server.count(path)
        fault = fault_of(path, self.server.faults)
        if fault == "timeout":
            self.server.closing.wait(HELD_SECONDS)
            self.close_connection = True
            return
        self.send(answer(self.server.picture(path), fault, asked))

    def do_DELETE(self) -> None:
        """End the web: a run has it give way to its own."""
        self.send(_page(200))
        self.server.closing.set()

    def send(self, answer: Answer) -> None:
        """Write an answer; a truncated one ends the connection."""
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(answer.announced))
        self.send_header(WORLD, self.server.parameters.name)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.data)
        self.close_connection = self.close_connection or answer.announced != len(answer.data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (http.server's name)
        """Say nothing: a run asks thousands of times."""


def fault_of(path: str, faults: Mapping[Fault, float]) -> Fault | None:
    """How a path fails, if it does: its hash as a number between 0 and 1 falls into one of the shares."""
    drawn = int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "big") / 2**64
    for fault, share in faults.items():
        if drawn < share:
            return fault
        drawn -= share
    return None


def answer(picture: tuple[bytes, str] | None, fault: Fault | None, asked: int) -> Answer:
    """What to send for a picture (None: there is none) that fails in this way and is asked for the n-th time."""
    if picture is None or fault == "missing":
        return _page(404)
    if fault == "error_once" and asked == 1:
        return _page(500)
    if fault == "html":
        return _page(200)
    data, extension = picture
    headers = (("X-Robots-Tag", "noai"),) if fault == "noai" else ()
    sent = data[: len(data) // 2] if fault == "truncated" else data
    return Answer(200, TYPES[extension], sent, len(data), headers)


def _page(status: int) -> Answer:
    return Answer(status, "text/html", PAGE, len(PAGE))


@contextmanager
def serve(folder: Path, *, port: int, faults: Mapping[Fault, float] = FAULTS) -> Iterator[Web]:
    """The web of the world in this folder, on this port of the loopback (0: a free one).

    Raises:
        OSError: the folder holds no finished world, or somebody else listens on the port.
    """
    parameters = read_parameters(folder)
    try:
        web = Web(port, parameters, faults)
    except OSError as problem:
        raise OSError(problem.errno, f"port {port} of 127.0.0.1 cannot be had ({problem.strerror})") from problem
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.05}, name="demo web", daemon=True)
    thread.start()
    try:
        yield web
    finally:
        web.closing.set()
        web.shutdown()
        web.server_close()
        thread.join()
