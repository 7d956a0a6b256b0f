"""An HTTP connection that knows where it goes and when it must be done.

The address is looked up once, judged, and connected to as it is: the name decides nothing after that but the Host
header and what the certificate must say. Proxies of the environment are not used, since behind one nobody could tell
where a connection ends.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Sequence
from functools import cache
from typing import IO, Any, Final

from typing_extensions import override

from stages.download.addresses import Network, refusal
from stages.download.deadline import Deadline
from stages.download.resolver import Resolver
from stages.download.statuses import RefusedError

MAX_HEAD: Final = 2**16
"""Bytes of an answer's status line and headers, in all."""
MAX_ADDRESSES: Final = 4
"""How many of a host's addresses are tried."""


class _TimedSocket(socket.socket):
    """A socket whose every read waits no longer than the deadline allows: a trickle cannot hold it."""

    deadline: Deadline

    @override
    def recv_into(self, *arguments: Any) -> int:
        self.settimeout(self.deadline.wait())
        return super().recv_into(*arguments)


class _TimedTls(ssl.SSLSocket):
    deadline: Deadline

    @override
    def recv_into(self, *arguments: Any) -> int:
        self.settimeout(self.deadline.wait())
        return super().recv_into(*arguments)


@cache
def _tls() -> ssl.SSLContext:
    """One for the process: reading the CA bundle takes 10 ms of CPU."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    context.sslsocket_class = _TimedTls
    return context


class _Head:
    """The part of an answer before its body, cut off after `MAX_HEAD` bytes."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._left = MAX_HEAD

    def readline(self, limit: int) -> bytes:
        line = self._stream.readline(min(limit, self._left + 1))
        self._left -= len(line)
        if self._left < 0:
            raise http.client.HTTPException(f"its headers are longer than {MAX_HEAD} bytes")
        return line

    def close(self) -> None:
        self._stream.close()


class _Response(http.client.HTTPResponse):
    @override
    def begin(self) -> None:
        stream = self.fp
        self.fp = head = _Head(stream)  # type: ignore[assignment]  # all that `begin` uses of a file
        try:
            super().begin()
        finally:
            if self.fp is head:  # type: ignore[comparison-overlap]  # it lets go of the file where no body follows
                self.fp = stream


class Connection(http.client.HTTPConnection):
    """A connection to one host, over TLS or not."""

    response_class = _Response

    def __init__(  # noqa: PLR0913 - a connection's parts, each with its name
        self, host: str, port: int | None, *, tls: bool, resolver: Resolver, allowed: Sequence[Network], until: Deadline
    ) -> None:
        self.default_port = http.client.HTTPS_PORT if tls else http.client.HTTP_PORT
        super().__init__(host, port or self.default_port)
        self._is_tls = tls
        self._resolver = resolver
        self._allowed = allowed
        self._deadline = until

    @override
    def connect(self) -> None:
        """Connect, and shake hands if it is TLS.

        Raises:
            RefusedError: every address of the host is one that may not be connected to.
            OSError: nobody answers there, or not in time.
        """
        self.sock = self._open()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._is_tls:
            self.sock.settimeout(self._deadline.wait())  # bounds the whole handshake
            self.sock = _tls().wrap_socket(self.sock, server_hostname=self.host)
            self.sock.deadline = self._deadline  # type: ignore[attr-defined]
        self.sock.settimeout(self._deadline.wait())

    def _open(self) -> socket.socket:
        failure: OSError | None = None
        for address in self._permitted()[:MAX_ADDRESSES]:
            try:
                return self._open_to(address)
            except OSError as error:
                failure = error
        assert failure is not None
        raise failure

    def _permitted(self) -> list[str]:
        addresses = self._resolver(self.host, self._deadline.wait())
        refusals = {address: refusal(address, self._allowed) for address in addresses}
        permitted = [address for address, words in refusals.items() if words is None]
        if not permitted:
            raise RefusedError("refused_address", f"{self.host}: {next(iter(refusals.values()))}")
        return permitted

    def _open_to(self, address: str) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        opened = _TimedSocket(family, socket.SOCK_STREAM)
        try:
            opened.deadline = self._deadline
            opened.settimeout(self._deadline.wait())
            opened.connect((address, self.port))
        except BaseException:
            opened.close()
            raise
        return opened
