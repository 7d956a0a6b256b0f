"""Bodies that come compressed although nobody asked for it."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

from stages.download.statuses import RefusedError

PIECE: Final = 2**18
"""Bytes of content that are held at a time: a chunk of a bomb may hold a thousand times its size."""
_PLAIN = ("", "identity")
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32


class Inflated:
    """Turns what comes over the wire into content, of which there is never more than `limit` bytes.

    gzip and deflate are undone. Anything else is refused: we ask for the bytes as they are, so what comes in brotli or
    twice compressed comes from a server that is out of order, or out for mischief.
    """

    def __init__(self, encoding: str | None, limit: int) -> None:
        name = (encoding or "").strip().lower()
        if name not in (*_PLAIN, "gzip", "x-gzip", "deflate"):
            raise RefusedError("not_an_image", f"compressed as {name}, which was not asked for")
        self._decoder = None if name in _PLAIN else zlib.decompressobj(_GZIP_OR_ZLIB)
        self._limit = limit
        self._left = limit

    def __call__(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the content of the next bytes, in pieces of at most `PIECE` or as it came.

        Raises:
            RefusedError: there is too much of it, or it is not compressed as it says.
        """
        if self._decoder is None:
            yield chunk
            return
        while True:
            try:
                content = self._decoder.decompress(chunk, PIECE)
            except zlib.error as error:
                raise RefusedError("not_an_image", f"its compression is broken: {error}") from error
            self._left -= len(content)
            if self._left < 0:
                raise RefusedError("too_large", f"more than {self._limit} bytes, compressed")
            yield content
            chunk = self._decoder.unconsumed_tail
            if not chunk and len(content) < PIECE:
                return

    def finish(self) -> None:
        """Say that no more bytes come.

        Raises:
            RefusedError: the compressed stream has no end.
        """
        if self._decoder is not None and not self._decoder.eof:
            raise RefusedError("not_an_image", "its compressed body has no end")
