"""How much work a picture's bytes ask for, counted before any decoder does it.

A decoder's time follows the size of the picture and of the file, with two exceptions that make a small file hours of
work: scans of a JPEG, each of which passes over the whole picture, and millions of tiny parts, each of which Pillow
handles in Python. Both are bounded here, far above what programs write, so that no machine's speed decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from stages.pictures.errors import PictureError, TooLargeError

MAX_SEGMENTS: Final = 4096
"""Segments in front of a JPEG's picture. An ICC profile has at most 255 of them, a large XMP packet some hundred."""
MAX_FILLING: Final = 2**16
"""Bytes between those segments, where none should be."""
MAX_SCANNED: Final = 4 * 10**9
"""Pixels of a JPEG times its scans. Encoders write 10 to 20 scans, and the largest pictures have 10^8 pixels."""
MAX_PARTS: Final = 100_000
"""Chunks of a PNG, strips of a TIFF: even one per row of a high picture stays below."""
MAX_PACKED: Final = 1000
"""Chunks of a PNG that hold texts or profiles, each compressed by itself."""

_MARKER: Final = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])")  # not the ones that stand between entropy-coded bytes
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_PACKED: Final = {b"iCCP", b"zTXt", b"iTXt"}
_BIG_TIFF, _OFFSETS = 43, {273, 324}


def check_parts(encoded: bytes) -> None:
    """Refuse a file of millions of parts.

    Raises:
        TooLargeError: it has more than any program writes.
    """
    if encoded.startswith(b"\xff\xd8"):
        first_scan(encoded)
    elif encoded.startswith(b"\x89PNG"):
        _check_chunks(encoded)
    elif encoded.startswith((b"II", b"MM")):
        _check_strips(encoded)


def webp_canvas(encoded: bytes) -> tuple[int, int] | None:
    """Width and height of a WebP, which Pillow tells only after it has made room for it; None of other files."""
    if encoded[:4] != b"RIFF" or encoded[8:12] != b"WEBP":
        return None
    kind, head = encoded[12:16], encoded[20:30]
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[4:7], "little"), 1 + int.from_bytes(head[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(head[6:8], "little") & 0x3FFF, int.from_bytes(head[8:10], "little") & 0x3FFF


def first_scan(encoded: bytes) -> int:
    """Where a JPEG's first scan begins.

    Raises:
        PictureError: nowhere.
        TooLargeError: too many segments come first.
    """
    filling, end = 0, 2
    for number, (marker, place, behind) in enumerate(_markers(encoded, 2)):
        filling, end = filling + place - end, behind
        if marker == _START_OF_SCAN:
            return place
        if number == MAX_SEGMENTS:
            raise TooLargeError(f"more than {MAX_SEGMENTS} segments")
        if filling > MAX_FILLING:
            raise TooLargeError(f"more than {MAX_FILLING} bytes between its segments")
    raise PictureError("a JPEG without a picture")


def count_scans(encoded: bytes) -> int:
    """The scans of a JPEG; counting ends where no picture can have as many.

    Raises:
        PictureError: as `first_scan`.
    """
    start = first_scan(encoded)
    if encoded.count(b"\xff\xda", start) == 1:  # it cannot stand between entropy-coded bytes
        return 1
    count = 0
    for number, (marker, _, _) in enumerate(_markers(encoded, start)):
        count += marker == _START_OF_SCAN
        if number == MAX_PARTS:
            break
    return count


def _markers(encoded: bytes, place: int) -> Iterator[tuple[int, int, int]]:
    """Every marker with a segment, up to the end of the image: where it stands, and where its segment ends."""
    while found := _MARKER.search(encoded, place):
        marker, place = found[1][0], found.end()
        if marker == _END_OF_IMAGE:
            return
        place += max(2, int.from_bytes(encoded[place : place + 2], "big"))
        yield marker, found.start(), place


def _check_chunks(encoded: bytes) -> None:
    place, packed = 8, 0
    for _ in range(MAX_PARTS):
        length, kind = encoded[place : place + 4], encoded[place + 4 : place + 8]
        if len(kind) < 4 or kind == b"IEND":
            return
        packed += kind in _PACKED
        if packed > MAX_PACKED:
            raise TooLargeError(f"more than {MAX_PACKED} texts and profiles")
        place += 12 + int.from_bytes(length, "big")
    raise TooLargeError(f"more than {MAX_PARTS} chunks")


def _check_strips(encoded: bytes) -> None:
    """Of a TIFF's first directory, the one that is read; in a BigTIFF numbers are twice as long."""

    def number(place: int, size: int) -> int:
        return int.from_bytes(encoded[place : place + size], "little" if encoded[:1] == b"I" else "big")

    is_big = number(2, 2) == _BIG_TIFF
    long, short, entry_size = (8, 8, 20) if is_big else (4, 2, 12)
    directory = number(long, long)
    first = directory + short
    last = min(len(encoded), first + entry_size * number(directory, short))
    for entry in range(first, last, entry_size):
        if number(entry, 2) in _OFFSETS and number(entry + 4, long) > MAX_PARTS:
            raise TooLargeError(f"more than {MAX_PARTS} strips or tiles")
