"""A web of one host on 127.0.0.1 that answers in every way the web does."""

from __future__ import annotations

import io
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image

from stages.contract import Output

Run = Callable[..., Output]
"""The `download` fixture: rows, `images=`, `columns=` and recipe fields in, the stage's output back."""


def picture(width: int = 64, height: int = 48, seed: int = 0) -> Image.Image:
    """A smooth picture of its own colours."""
    small = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, image_format: str = "JPEG", **options: object) -> bytes:
    """An image file."""
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


class Web(ThreadingHTTPServer):
    """Serves what `pages` holds by path; counts the requests."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pages: dict[str, Callable[[_Handler], None]] = dict(_PAGES)
        self.hits: Counter[str] = Counter()
        self.over = threading.Event()  # lets hanging answers go at the end of the test

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    def image(self, path: str, content: bytes, **headers: str) -> str:
        self.pages[path] = lambda handler: handler.answer(200, content, headers)
        return self.url(path)


class _Handler(BaseHTTPRequestHandler):
    server: Web

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.hits[path] += 1
        try:
            self.server.pages.get(path, lambda handler: handler.answer(404, b"gone"))(self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def answer(self, code: int, body: bytes, headers: dict[str, str] | None = None, length: int | None = None) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in (headers or {}).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def _flaky(handler: _Handler) -> None:
    if handler.server.hits["/flaky.jpg"] % 2:
        handler.answer(500, b"try again")
    else:
        handler.answer(200, encoded(picture(seed=5)))


def _hang(handler: _Handler) -> None:
    handler.server.over.wait()


def _trickle(handler: _Handler) -> None:
    """A byte every 50 ms, for ever: never silent for as long as a timeout."""
    handler.send_response(200)
    handler.end_headers()
    while not handler.server.over.wait(0.05):
        handler.wfile.write(b"\xff")


def _reset(handler: _Handler) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close with RST
    handler.close_connection = True
    handler.connection.close()


def _chunked(handler: _Handler, *, whole: bool) -> None:
    body = encoded(picture(seed=7))
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"%x\r\n%s\r\n" % (len(body), body))
    if whole:
        handler.wfile.write(b"0\r\n\r\n")
    else:
        handler.wfile.write(b"ffff\r\nabc")
    handler.close_connection = True


_JPEG = encoded(picture())
_PAGES: dict[str, Callable[[_Handler], None]] = {
    "/good.jpg": lambda h: h.answer(200, _JPEG),
    "/good.png": lambda h: h.answer(200, encoded(picture(seed=1), "PNG")),
    "/good.webp": lambda h: h.answer(200, encoded(picture(seed=2), "WEBP")),
    "/big.jpg": lambda h: h.answer(200, encoded(picture(1000, 800, seed=3))),
    "/500": lambda h: h.answer(500, b"broken"),
    "/flaky.jpg": _flaky,
    "/hang.jpg": _hang,
    "/trickle.jpg": _trickle,
    "/reset.jpg": _reset,
    "/empty.jpg": lambda h: h.answer(200, b""),
    "/short.jpg": lambda h: h.answer(200, _JPEG[:200], length=len(_JPEG)),
    "/cut.jpg": lambda h: h.answer(200, _JPEG[: len(_JPEG) // 2]),
    "/chunked.jpg": lambda h: _chunked(h, whole=True),
    "/chunked-short.jpg": lambda h: _chunked(h, whole=False),
    "/page.html": lambda h: h.answer(200, b"<html>not here</html>"),
    "/noai.jpg": lambda h: h.answer(200, _JPEG, {"X-Robots-Tag": "max-image-preview:large, NoAI"}),
    "/other-bot.jpg": lambda h: h.answer(200, _JPEG, {"X-Robots-Tag": "googlebot: noindex"}),
    "/loop": lambda h: h.answer(302, b"", {"Location": "/loop"}),
    "/moved.jpg": lambda h: h.answer(301, b"", {"Location": "/good.jpg"}),
    "/to-ftp": lambda h: h.answer(302, b"", {"Location": "ftp://127.0.0.1/x.jpg"}),
    "/to-file": lambda h: h.answer(302, b"", {"Location": "file:///x.jpg"}),
    "/odd-type": lambda h: h.answer(200, _JPEG, {"Content-Type": "multipart/x; boundary*=a; boundary*1=b"}),
    "/garbage": lambda h: h.wfile.write(b"this is no HTTP\r\n\r\n"),
}


@contextmanager
def serve() -> Iterator[Web]:
    web = Web()
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        web.over.set()
        web.shutdown()
        web.server_close()
        thread.join()
