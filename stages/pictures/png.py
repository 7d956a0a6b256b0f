"""Whether a PNG's stream holds its picture to the end, which Pillow does not ask: it leaves black what is missing."""

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


def is_whole(encoded: bytes) -> bool:
    """Whether the stream of a PNG holds all rows that its header tells of, and its own end; all of it is unpacked."""
    wanted, count, unpacker = _unpacked_size(encoded), 0, zlib.decompressobj()
    try:
        for data in _stream(encoded):
            while data and not unpacker.eof and count < wanted + _PIECE:
                count += len(unpacker.decompress(data, _PIECE))
                data = unpacker.unconsumed_tail  # noqa: PLW2901
    except zlib.error:
        return False
    return unpacker.eof and count >= wanted


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
