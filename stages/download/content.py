"""Bodies that come compressed although nobody asked for it."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, Final

from stages.download.statuses import RefusedError

PIECE: Final = 2**18
"""Bytes of content that are held at a time: a chunk of a bomb may hold a thousand times its size."""
_PLAIN = ("", "identity")
_GZIP, _ZLIB, _RAW = zlib.MAX_WBITS | 16, zlib.MAX_WBITS, -zlib.MAX_WBITS
_GZIP_START = b"\x1f\x8b"


class Inflated:
    """Turns what comes over the wire into content, of which there is never more than `limit` bytes.

    gzip, of several members too, and deflate, with zlib's frame and without, are undone; what stands behind their end
    is passed over, as browsers do. Anything else is refused: we ask for the bytes as they are, so what comes in brotli
    or twice compressed comes from a server that is out of order, or out for mischief.
    """

    def __init__(self, encoding: str | None, limit: int) -> None:
        name = (encoding or "").strip().lower()
        if name not in (*_PLAIN, "gzip", "x-gzip", "deflate"):
            raise RefusedError("not_an_image", f"compressed as {name}, which was not asked for")
        self._name = name
        self._limit = limit
        self._left = limit
        self._head = b""
        self._bits = 0
        self._stream: Any = None
        self._has_ended = self._is_over = False

    def __call__(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the content of the next bytes, in pieces of at most `PIECE` or as it came.

        Raises:
            RefusedError: there is too much of it, or it is not compressed as it says.
        """
        if self._name in _PLAIN:
            yield chunk
            return
        while chunk and not self._is_over:
            if self._stream is None:
                chunk = self._begin(chunk)
            else:
                yield from self._inflate(chunk)
                chunk = self._behind()

    def _begin(self, chunk: bytes) -> bytes:
        """Begin a stream, as its first two bytes say; return all there is of it by then."""
        head, self._head = self._head + chunk, b""
        if len(head) < 2:
            self._head = head
            return b""
        if self._has_ended and not head.startswith(_GZIP_START):
            self._is_over = True
            return b""
        self._bits = self._bits_of(head)
        self._stream = zlib.decompressobj(self._bits)
        return head

    def _bits_of(self, head: bytes) -> int:
        if head.startswith(_GZIP_START):
            return _GZIP
        is_framed = head[0] & 0x0F == zlib.DEFLATED and int.from_bytes(head[:2], "big") % 31 == 0
        return _RAW if self._name == "deflate" and not is_framed else _ZLIB  # many servers leave the frame out

    def _inflate(self, chunk: bytes) -> Iterator[bytes]:
        while True:
            try:
                content = self._stream.decompress(chunk, PIECE)
            except zlib.error as error:
                raise RefusedError("not_an_image", f"its compression is broken: {error}") from error
            self._left -= len(content)
            if self._left < 0:
                raise RefusedError("too_large", f"more than {self._limit} bytes, compressed")
            yield content
            chunk = self._stream.unconsumed_tail
            if self._stream.eof or (not chunk and len(content) < PIECE):
                return

    def _behind(self) -> bytes:
        """What is left of a chunk behind the end of a stream."""
        if not self._stream.eof:
            return b""
        rest: bytes = self._stream.unused_data
        self._stream, self._has_ended, self._is_over = None, True, self._bits != _GZIP
        return rest

    def finish(self) -> None:
        """Say that no more bytes come.

        Raises:
            RefusedError: the compressed stream has no end.
        """
        if self._name not in _PLAIN and (self._stream is not None or not self._has_ended):
            raise RefusedError("not_an_image", "its compressed body has no end")
