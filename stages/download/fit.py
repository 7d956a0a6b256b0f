"""From the bytes as they came to the image that is stored, by processes that may die of them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import IO, cast

from stages.download import messages
from stages.download.checksums import checksums
from stages.download.decoders import Decoders
from stages.download.messages import Answer, Wanted
from stages.download.rows import Outcome
from stages.download.spec import DownloadRecipe, DownloadRun
from stages.pictures.errors import MAX_MEMORY
from stages.tables import Status

_MORE_MEMORY = 64 * 2**20
"""Bytes of a decoder process for what is neither the file nor its decoding: what is scaled down and encoded."""


class Fit:
    """Checks, turns upright, scales down and encodes images. Safe to call from several threads.

    Whoever has an image at hand asks `too_large` before reading it.
    """

    def __init__(self, recipe: DownloadRecipe, run: DownloadRun) -> None:
        self._max_bytes = recipe.max_bytes
        wanted = Wanted(*(getattr(recipe, name) for name in Wanted._fields))
        self._decoders = _decoders(run.decoders, recipe.decode_seconds, wanted, recipe.max_bytes)

    def too_large(self, size: int) -> Outcome | None:
        """What becomes of a file of so many bytes, which need not be read; None where it is to be looked at."""
        return Outcome("too_large", f"more than {self._max_bytes} bytes") if size > self._max_bytes else None

    def body(self, stream: IO[bytes]) -> Answer:
        """What becomes of an image that is read when its turn has come; the caller closes it."""
        return self._decoders(messages.CONVERT, stream.read)

    def image(self, encoded: bytes) -> tuple[Outcome, bytes | None]:
        """What becomes of an image at hand, and the bytes to store, None if it is refused."""
        answer = self._decoders(messages.CONVERT, lambda: encoded)
        if answer.sizes is None:
            return refused(answer), None
        outcome = replace(Outcome("success", None, *answer.sizes), **checksums([encoded]))
        return outcome, answer.content or encoded

    def look(self, encoded: bytes) -> Outcome:
        """What becomes of an image that stays where it is: whether every later stage can decode it."""
        answer = self._decoders(messages.LOOK, lambda: encoded)
        if answer.sizes is None:
            return refused(answer)
        width, height, *_ = answer.sizes
        return Outcome("success", None, width, height, **checksums([encoded]))


@cache
def _decoders(count: int, seconds: float, wanted: Wanted, max_bytes: int) -> Decoders:
    """The processes of this one for all downloads that want the same; they end with it."""
    return Decoders(count, seconds, {"wanted": wanted, "memory": MAX_MEMORY + max_bytes + _MORE_MEMORY})


def refused(answer: Answer) -> Outcome:
    """The row of an image that is not stored."""
    return Outcome(cast("Status", answer.status), answer.words)
