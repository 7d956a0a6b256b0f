"""The HTTP client that img2dataset downloads with: http(s) only, and no answer without an end.

`urllib.request.urlopen`, which img2dataset would use, follows a redirect to ftp:// and reads a body for as long as it
lasts. One such address among ten thousand would hold up its shard until the shard's deadline, and every retry too.
"""

from __future__ import annotations

import http.client
import ssl
import time
import urllib.request
from email.message import Message
from functools import cache
from typing import IO, Final

from typing_extensions import Self, override

from stages.download.robots import single_directives
from stages.download.statuses import RefusedError, of_request

MAX_BYTES: Final = 128 * 2**20
"""Bytes of the largest body that is read."""
PATIENCE: Final = 6
"""A body may take this many timeouts in all, however steadily it trickles."""
_CHUNK: Final = 2**16


class _StayOnHttp(urllib.request.HTTPRedirectHandler):
    """Follow redirects to http(s) alone."""

    @override
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if not newurl.lower().startswith(("http://", "https://")):
            raise RefusedError("http_other", f"redirected to {newurl}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@cache
def _opener() -> urllib.request.OpenerDirector:
    """One for the process: urllib would read the CA bundle anew for every https address, at 10 ms of CPU each."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return urllib.request.build_opener(_StayOnHttp, urllib.request.HTTPSHandler(context=context))


class Answer:
    """What img2dataset uses of a response: its robots headers and its whole body."""

    def __init__(self, response: http.client.HTTPResponse, timeout: float) -> None:
        self._response = response
        self._deadline = time.monotonic() + PATIENCE * timeout
        self.headers = Message()
        for directive in single_directives(response.headers.get_all("X-Robots-Tag", [])):
            self.headers.add_header("X-Robots-Tag", directive)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._response.close()

    def read(self) -> bytes:
        """The whole body.

        Raises:
            RefusedError: it ended early, took too long, or is larger than `MAX_BYTES`.
        """
        try:
            return self._read()
        except (OSError, http.client.HTTPException) as error:
            raise RefusedError(of_request(error), str(error) or type(error).__name__) from error

    def _read(self) -> bytes:
        announced = self._response.length  # Python 3.10 and 3.11 do not count down in read1, later ones do
        body = bytearray()
        while chunk := self._response.read1(_CHUNK):  # read1 returns what is there: a trickle cannot block it
            body += chunk
            if len(body) > MAX_BYTES:
                raise RefusedError("not_an_image", f"larger than {MAX_BYTES} bytes")
            if time.monotonic() > self._deadline:
                raise TimeoutError("the body took too long")
            if len(body) == announced:
                break
        if announced is not None and len(body) < announced:
            raise http.client.IncompleteRead(bytes(body), announced - len(body))
        return bytes(body)


class HttpClient:
    """Stands in for the module `urllib.request` inside img2dataset."""

    Request = urllib.request.Request

    @staticmethod
    def urlopen(request: urllib.request.Request, timeout: float) -> Answer:
        """Send a request and answer with what came back.

        Raises:
            RefusedError: no answer, or one that is no success.
        """
        try:
            return Answer(_opener().open(request, timeout=timeout), timeout)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise RefusedError(of_request(error), str(error) or type(error).__name__) from error
