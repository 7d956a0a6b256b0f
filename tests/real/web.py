"""The web that clip art is fetched from: a folder on the loopback, some of whose links are rotten.

Which link is rotten, and how, follows from its path alone, so that a run and its repetition meet the same web.
"""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tests.real.places import Trouble

PORT = 38721
BASE = f"http://127.0.0.1:{PORT}"
ROTTEN = {"missing": 0.04, "page": 0.01, "truncated": 0.01}
"""Shares of the links that have rotted in each way."""
PAGE = b"<!doctype html><title>Sorry</title><p>This picture has moved."


def answer(folder: Path, path: str) -> tuple[int, str, bytes, int]:
    """Status, type, bytes, and how many are announced, for a path."""
    file = folder / unquote(path).lstrip("/")
    how = rot(path)
    if how == "missing" or ".." in file.parts or not file.is_file():
        return 404, "text/html", PAGE, len(PAGE)
    if how == "page":
        return 200, "text/html", PAGE, len(PAGE)
    data = file.read_bytes()
    return 200, "image/png", data[: len(data) // 2] if how == "truncated" else data, len(data)


def rot(path: str) -> str | None:
    """How a link has rotted, if it has."""
    drawn = int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "big") / 2**64
    for how, share in ROTTEN.items():
        if drawn < share:
            return how
        drawn -= share
    return None


class Web(ThreadingHTTPServer):
    """The server; who hangs up, as a crawler may, is no error of its."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what went wrong, but for that."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serve(folder: Path, port: int = PORT) -> Iterator[int]:
    """Serve a folder until the context is left; the port that it is served on.

    Raises:
        Trouble: somebody else listens there.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, kind, data, announced = answer(folder, self.path)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(announced))
            self.end_headers()
            self.wfile.write(data)
            self.close_connection = announced != len(data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (http.server's name)
            """Say nothing: a run asks thousands of times."""

    try:
        web = Web(("127.0.0.1", port), Handler)
    except OSError as problem:
        raise Trouble(f"port {port} of 127.0.0.1 cannot be had: {problem.strerror}") from None
    threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield web.server_port
    finally:
        web.shutdown()
        web.server_close()
