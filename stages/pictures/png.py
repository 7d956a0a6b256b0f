"""Whether a PNG's stream is as long as its picture, which Pillow does not ask: it leaves missing rows black."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

_SAMPLES: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Of a pixel, by colour type."""
_PASSES: Final = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Adam7: first column and row of a pass, and the steps between them."""
_PIECE: Final = 2**20
"""Bytes that are unpacked at once."""


def is_short(encoded: bytes) -> bool:
    """Whether the stream of a PNG that Pillow has decoded holds less than its header says; all of it is unpacked."""
    left = _unpacked_size(encoded)
    unpacker = zlib.decompressobj()
    for data in _stream(encoded):
        while data and left > 0:
            try:
                left -= len(unpacker.decompress(data, _PIECE))
            except zlib.error:
                return True
            data = unpacker.unconsumed_tail  # noqa: PLW2901
        if left <= 0 or unpacker.eof:
            break
    return left > 0


def _unpacked_size(encoded: bytes) -> int:
    width, height = (int.from_bytes(encoded[place : place + 4], "big") for place in (16, 20))
    depth, colour, interlaced = encoded[24], encoded[25], encoded[28]
    passes = _PASSES if interlaced else ((0, 0, 1, 1),)
    sizes = ((-(-(width - x) // across), -(-(height - y) // along)) for x, y, across, along in passes)
    return sum(rows * (1 + -(-columns * depth * _SAMPLES[colour] // 8)) for columns, rows in sizes if columns > 0)


def _stream(encoded: bytes) -> Iterator[bytes]:
    """The data of the first IDAT chunk and of those that follow it at once."""
    place = 8
    found = False
    while place + 8 <= len(encoded):
        size, kind = int.from_bytes(encoded[place : place + 4], "big"), encoded[place + 4 : place + 8]
        if kind == b"IDAT":
            found = True
            yield encoded[place + 8 : place + 8 + size]
        elif found:
            return
        place += 12 + size
