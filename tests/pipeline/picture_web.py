"""A small web of pictures on loopback."""

from __future__ import annotations

import io
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image


def picture(number: int, size: tuple[int, int] = (40, 30)) -> bytes:
    """Large patches of colours, others for every number."""
    colours = np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(colours).resize((160, 120), Image.Resampling.BICUBIC).resize(size).save(buffer, "PNG")
    return buffer.getvalue()


class Web(ThreadingHTTPServer):
    """Pictures by number; /again/N has the bytes of /N, /small/N its looks, /to/N redirects to it.

    What is `down` answers 500.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: Counter[str] = Counter()
        self.down: set[str] = set()
        self.on_request: Callable[[], None] = lambda: None

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


class _Handler(BaseHTTPRequestHandler):
    server: Web

    def do_GET(self) -> None:
        self.server.asked[self.path] += 1
        self.server.on_request()
        if self.path in self.server.down:
            self.send_error(500)
            return
        kind, number = self.path.strip("/").rpartition("/")[::2]
        self.send_response(302 if kind == "to" else 200)
        if kind == "to":
            self.send_header("Location", f"/{number}")
        self.end_headers()
        if kind != "to":
            self.wfile.write(picture(int(number), (32, 24) if kind == "small" else (40, 30)))

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Web]:
    """Serve while the block lasts."""
    with Web() as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield running
        running.shutdown()
