"""From whatever went wrong with an image to the closed set of statuses.

img2dataset passes on nothing but words, out of which a status could only be guessed. So the code that it calls for us
(the HTTP client, the fitting of the image) puts the status in front of the words, where the error's type is still
known, and `parse` takes the two apart again.
"""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
import time
from collections.abc import Iterable
from typing import Final

from stages.download.dates import named_wait
from stages.tables import STATUSES, Status
from stages.words import one_line

_NO_ROUTE: Final = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.EADDRNOTAVAIL}
_BY_HUNDREDS: Final[dict[int, Status]] = {4: "http_4xx", 5: "http_5xx"}
_ASK_LATER: Final = {408, 425, 429, 503}
_TOO_MANY_REQUESTS: Final = 429
_LATER: Final = {socket.EAI_AGAIN}


class RefusedError(Exception):
    """An image that cannot be had: its status, the reason in words, and whether asking again may help."""

    def __init__(self, status: Status, words: str, *, passing: bool = False) -> None:
        self.status: Status = status
        self.words = one_line(words)
        self.passing = passing
        super().__init__(f"{status}: {self.words}")


class LaterError(RefusedError):
    """An image that is to be asked for later.

    Args:
        words: what the server says.
        wait: how many seconds later, if it says so; at least 0, without an upper bound.
        of_host: whether all of the host is meant for certain, and not perhaps the one page.
    """

    def __init__(self, words: str, *, wait: float | None = None, of_host: bool = True) -> None:
        super().__init__("http_later", words)
        self.wait = wait
        self.of_host = of_host


def of_answer(code: int, reason: str, retry_after: Iterable[str] = ()) -> RefusedError:
    """What an answer means that is no success.

    Args:
        code: its status code.
        reason: the words beside it.
        retry_after: the values of its Retry-After headers.
    """
    words = f"HTTP {code} {reason}"
    if code in _ASK_LATER:
        wait = named_wait(retry_after, time.time())
        return LaterError(words, wait=wait, of_host=code == _TOO_MANY_REQUESTS or wait is not None)
    status = _BY_HUNDREDS.get(code // 100, "http_other")
    return RefusedError(status, words, passing=status == "http_5xx")


def of_request(error: Exception) -> RefusedError:
    """What a request means that ended in this exception."""
    status = _status(error)
    passing = status in ("timeout", "connection") or (isinstance(error, socket.gaierror) and error.errno in _LATER)
    return RefusedError(status, one_line(error), passing=passing)


def _status(error: Exception) -> Status:
    for kinds, status in _BY_TYPE:
        if isinstance(error, kinds):
            return status
    return "connection" if isinstance(error, OSError) and error.errno in _NO_ROUTE else "error"


# The order matters: RemoteDisconnected is both a reset and an HTTPException, a certificate error is also a ValueError.
_BY_TYPE: Final[tuple[tuple[tuple[type[BaseException], ...], Status], ...]] = (
    ((TimeoutError,), "timeout"),
    ((socket.gaierror, socket.herror), "dns"),
    ((ConnectionError, http.client.IncompleteRead), "connection"),
    ((ssl.SSLError,), "tls"),
    ((http.client.InvalidURL, UnicodeError), "invalid_url"),
    ((http.client.HTTPException,), "http_other"),
)


def parse(message: str) -> tuple[Status, str]:
    """The status and the words of an error message that img2dataset hands to its writer."""
    status, colon, words = message.partition(": ")
    if colon and status in STATUSES:
        return status, words
    return "error", one_line(message)
