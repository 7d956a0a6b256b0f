"""What the download and its decoder processes say to each other over pipes: sizes, JSON and bytes, nothing executable.

A request is `REQUEST` (task, size) and the picture's bytes. Its answer is `HEADER` (`ANSWER`, the sizes of two parts),
JSON, and the bytes to store. Before that, of a large picture, comes `HEADER` (`LARGE`), and the process waits for `GO`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from struct import Struct
from typing import Final, NamedTuple

REQUEST: Final = Struct("<cQ")
CONVERT, LOOK = b"c", b"l"
GO: Final = b"g"
"""The turn of a large picture has come."""

HEADER: Final = Struct("<cIQ")
READY, LARGE, ANSWER = b"r", b"l", b"a"


class Wanted(NamedTuple):
    """What is stored of a picture; see `DownloadRecipe`."""

    image_size: int
    encode_format: str
    encode_quality: int
    min_image_size: int
    max_aspect_ratio: float | None
    max_pixels: int


class Sizes(NamedTuple):
    """Of the stored picture and of the original, upright; in pixels."""

    width: int
    height: int
    original_width: int
    original_height: int


class Answer(NamedTuple):
    """What became of a picture."""

    status: str
    """One of `stages.tables.STATUSES`."""
    words: str | None
    """Why there is none; None on success."""
    sizes: Sizes | None = None
    content: bytes | None = None
    """What is stored; None where that is the bytes as they came, or nothing."""


NOTHING: Final = Answer("error", "a message without an answer")


def write(pipe: int, *parts: bytes, until_free: Callable[[], None] = lambda: None) -> None:
    """Write all of some parts: one call may write a piece of them alone, as after a signal.

    Args:
        pipe: its descriptor.
        parts: what is written.
        until_free: waits where the pipe is full, and is one that does not wait itself.
    """
    left = [memoryview(part) for part in parts if part]
    while left:
        try:
            written = os.writev(pipe, left)
        except BlockingIOError:
            until_free()
            continue
        while left and written >= len(left[0]):
            written -= len(left.pop(0))
        if left:
            left[0] = left[0][written:]


def signal(kind: bytes) -> bytes:
    """A message of a decoder that says no more than its kind."""
    return HEADER.pack(kind, 0, 0)


def pack(answer: Answer) -> bytes:
    """An answer as a message."""
    told = json.dumps([answer.status, answer.words, answer.sizes]).encode()
    content = answer.content or b""
    return HEADER.pack(ANSWER, len(told), len(content)) + told + content


def size_of_rest(message: bytearray) -> int:
    """Bytes of a message behind its header."""
    _, told, content = HEADER.unpack_from(message)
    return int(told + content)


def unpack(message: bytearray) -> tuple[bytes, Answer]:
    """The kind of a message, and its answer (`NOTHING` if it holds none)."""
    kind, told, _ = HEADER.unpack_from(message)
    if kind != ANSWER:
        return kind, NOTHING
    words, content = message[HEADER.size : HEADER.size + told], bytes(message[HEADER.size + told :])
    status, why, sizes = json.loads(words)
    return kind, Answer(status, why, Sizes(*sizes) if sizes else None, content or None)
