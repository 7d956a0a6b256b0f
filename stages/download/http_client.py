"""One request over HTTP: within a deadline, to a permitted address, up to a bounded size of its answer.

What img2dataset would use, `urllib.request.urlopen`, bounds none of that: its timeout is that of one read, it follows a
redirect to any address, and it reads a body for as long as it lasts.
"""

from __future__ import annotations

import http.client
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, cast
from urllib.parse import urlsplit

from stages.download.addresses import networks
from stages.download.checksums import Sums, checksums
from stages.download.connection import Connection
from stages.download.content import Inflated
from stages.download.deadline import Deadline
from stages.download.resolver import Resolver
from stages.download.robots import disallowed_by
from stages.download.spec import DownloadRecipe
from stages.download.statuses import RefusedError, of_answer, of_request
from stages.download.urls import redirect_url

IN_MEMORY: Final = 2**20
"""Bytes of a body that are held in memory; the rest of a larger one goes to the scratch disk."""
_CHUNK: Final = 2**16
_MOVED: Final = {301, 302, 303, 307, 308}


class DiskError(Exception):
    """The scratch disk is out of order: nothing that a row could be blamed for."""


OF_THE_WORKER: Final = (DiskError, MemoryError)
"""What a request may raise that no row is to blame for; whatever else goes wrong is the row's."""


@dataclass(frozen=True)
class Body:
    """What came."""

    file: IO[bytes]
    """At its start; whoever takes it closes it."""
    sums: Sums


@dataclass(frozen=True)
class Redirect:
    """An answer that sends on to another address."""

    url: str
    """One that `request_url` would pass."""


class HttpClient:
    """Asks for images. Safe to call from several threads.

    Args:
        recipe: the limits, the opt-outs that are honoured, and the name that they may be addressed to.
        user_agent: how the crawler introduces itself.
        resolver: finds the addresses of hosts.
        scratch: where large bodies lie until they are decoded.
        is_removed: whether a URL must not be fetched; asked for every redirect.
    """

    def __init__(
        self,
        recipe: DownloadRecipe,
        *,
        user_agent: str,
        resolver: Resolver,
        scratch: Path,
        is_removed: Callable[[str], bool],
    ) -> None:
        self._recipe = recipe
        self._allowed = networks(recipe.allow_addresses)
        self._resolver = resolver
        self._scratch = scratch
        self._is_removed = is_removed
        self._headers = {
            "User-Agent": user_agent,
            "Accept": "image/*,*/*;q=0.1",
            "Accept-Encoding": "identity",
            "Connection": "close",
        }

    def fetch(self, url: str, until: Deadline) -> Body | Redirect:
        """The body of an address, or where it has moved to.

        Args:
            url: an address that `request_url` has passed.
            until: the time that all of it may take.

        Raises:
            LaterError: it is to be asked for later.
            RefusedError: no image is to be had there, or not within the limits.
            DiskError: the scratch disk is out of order.
            MemoryError: there is none left.
        """
        try:
            with closing(self._connect(url, until)) as connection, closing(self._ask(connection, url)) as answer:
                return self._read(answer, url)
        except (RefusedError, *OF_THE_WORKER):
            raise
        except Exception as error:  # a stranger's answer has the standard library raise whatever it likes
            raise of_request(error) from error

    def _connect(self, url: str, until: Deadline) -> Connection:
        parts = urlsplit(url)
        assert parts.hostname is not None
        tls = parts.scheme == "https"
        return Connection(
            parts.hostname, parts.port, tls=tls, resolver=self._resolver, allowed=self._allowed, until=until
        )

    def _ask(self, connection: Connection, url: str) -> http.client.HTTPResponse:
        parts = urlsplit(url)
        target = parts._replace(scheme="", netloc="", path=parts.path or "/", fragment="").geturl()
        connection.request("GET", target, headers=self._headers)
        return connection.getresponse()

    def _read(self, answer: http.client.HTTPResponse, url: str) -> Body | Redirect:
        target = answer.headers["Location"] if answer.status in _MOVED else None
        if target is None and not 200 <= answer.status < 300:
            raise of_answer(answer.status, answer.reason, answer.headers.get_all("Retry-After", []))
        self._check_robots(answer)
        return self._body(answer) if target is None else self._redirect(url, target)

    def _check_robots(self, answer: http.client.HTTPResponse) -> None:
        """Honour an answer's opt-out; also that of a redirect, whose host speaks for the image as well."""
        recipe, headers = self._recipe, answer.headers.get_all("X-Robots-Tag", [])
        directive = disallowed_by(headers, recipe.opt_out, recipe.user_agent, time.time())
        if directive is not None:
            raise RefusedError("opted_out", f"X-Robots-Tag says {directive}")

    def _redirect(self, url: str, target: str) -> Redirect:
        found = redirect_url(url, target)
        if found is None:
            raise RefusedError("http_other", f"redirected to {target}, which is no http(s) address")
        if self._is_removed(found):
            raise RefusedError("removed", f"redirected to {found}, which is on the removal list")
        return Redirect(found)

    def _body(self, answer: http.client.HTTPResponse) -> Body:
        announced = answer.length  # Python 3.10 and 3.11 do not count down in read1, later ones do
        if announced is not None and announced > self._recipe.max_bytes:
            raise self._too_large()
        body = tempfile.SpooledTemporaryFile(IN_MEMORY, dir=str(self._scratch))  # noqa: SIM115 - the caller closes it
        try:
            for content in self._contents(answer, announced):
                with _on_disk():
                    body.write(content)
            with _on_disk():
                sums = checksums(_from_its_start(body))
                body.seek(0)
        except BaseException:
            body.close()
            raise
        return Body(cast("IO[bytes]", body), sums)

    def _contents(self, answer: http.client.HTTPResponse, announced: int | None) -> Iterator[bytes]:
        """The body, piece by piece; at most `max_bytes` are taken from the network, and given."""
        inflated = Inflated(answer.headers["Content-Encoding"], self._recipe.max_bytes)
        count = 0
        while announced is None or count < announced:
            chunk = answer.read1(_CHUNK)  # returns what is there
            if not chunk:
                break
            count += len(chunk)
            if count > self._recipe.max_bytes:
                raise self._too_large()
            yield from inflated(chunk)
        if announced is not None and count < announced:
            raise http.client.IncompleteRead(b"", announced - count)
        inflated.finish()

    def _too_large(self) -> RefusedError:
        return RefusedError("too_large", f"more than {self._recipe.max_bytes} bytes")


def _from_its_start(file: IO[bytes] | tempfile.SpooledTemporaryFile[bytes]) -> Iterator[bytes]:
    file.seek(0)
    while chunk := file.read(_CHUNK):
        yield chunk


@contextmanager
def _on_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DiskError(f"the scratch disk: {error}") from error
