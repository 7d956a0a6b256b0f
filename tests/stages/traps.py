"""Pictures that are out for mischief, made from nothing: small files that ask for hours, gigabytes, or belief.

Each maker gives the file; `TRAPS` says what each must come to. Sizes are those that hurt; tests that only look at the
verdict may make them smaller.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from PIL import Image


class Trap(NamedTuple):
    """A file, and the status that it comes to."""

    make: Callable[[], bytes]
    status: str


def photo(width: int = 320, height: int = 240, seed: int = 7) -> Image.Image:
    """A picture with large shapes, as photographs have."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    """An image file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


# JPEG


def segment(marker: int, data: bytes) -> bytes:
    """A marker and its segment."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def _bits(text: str) -> bytes:
    padded = text + "1" * (-len(text) % 8)
    return int(padded, 2).to_bytes(len(padded) // 8, "big").replace(b"\xff", b"\xff\0")


def jpeg_of_scans(side: int, count: int, between: bytes = b"", *, progressive: bool = True) -> bytes:
    """Grey; each scan says in a few bytes that nothing changes, and costs a pass over the whole picture."""
    blocks = (-(-side // 8)) ** 2
    frame = struct.pack(">BHHB", 8, side, side, 1) + b"\1\x11\0"
    head = b"\xff\xd8" + segment(0xDB, b"\0" + b"\1" * 64) + segment(0xC2 if progressive else 0xC0, frame)
    head += segment(0xC4, b"\0" + bytes([1] + [0] * 15) + b"\0")
    head += segment(0xC4, b"\x10" + bytes([1] + [0] * 15) + (b"\xe0" if progressive else b"\0"))
    if not progressive:  # a scan holds all of a baseline picture; a second one repeats it
        scan = segment(0xDA, b"\1\1\0\0\x3f\0") + _bits("00" * blocks)
        return head + (scan + between) * count + b"\xff\xd9"
    first = segment(0xDA, b"\1\1\0\0\0\0") + _bits("0" * blocks)
    empty = segment(0xDA, b"\1\1\0\1\x3f\0") + _bits(("0" + "1" * 14) * -(-blocks // (2**15 - 1)))
    return head + first + (between + empty) * count + b"\xff\xd9"


def jpeg_with(segments: Iterable[bytes], image: Image.Image | None = None) -> bytes:
    """A picture behind segments."""
    whole = encoded(image or photo())
    return whole[:2] + b"".join(segments) + whole[2:]


def mpo(first: bytes) -> bytes:
    """A file of two pictures, the first of them given."""
    pair = encoded(photo(), "MPO", save_all=True, append_images=[photo(seed=8)])
    end = pair.index(b"\xff\xd9") + 2
    app2 = pair[pair.index(b"\xff\xe2") :]
    app2 = app2[: 2 + int.from_bytes(app2[2:4], "big")]
    return first[:2] + app2 + first[2:] + pair[end:]


# PNG


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk with its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes, *before: bytes, depth: int = 8, colour: int = 2, lace: int = 0) -> bytes:
    """A PNG with chunks of one's own."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, lace))
    palette = chunk(b"PLTE", bytes(768)) if colour == 3 else b""
    return b"\x89PNG\r\n\x1a\n" + header + palette + b"".join(before) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def rows_of(image: Image.Image) -> bytes:
    """What a PNG compresses."""
    return b"".join(b"\0" + row.tobytes() for row in np.asarray(image))


def zeros(count: int) -> bytes:
    """So many zeros, compressed."""
    packer, left, packed = zlib.compressobj(9), count, []
    while left:
        piece = min(left, 2**20)
        packed.append(packer.compress(bytes(piece)))
        left -= piece
    return b"".join(packed) + packer.flush()


def png_bomb(side: int, *, colour: int = 3) -> bytes:
    """One colour: a few kilobytes that become side x side pixels."""
    return png(side, side, zeros(side * (side * (1 if colour == 3 else 3) + 1)), colour=colour)


def png_with_a_broken_stream(share: float = 0.5) -> bytes:
    """Its pixels stop making sense on the way."""
    packed = bytearray(zlib.compress(rows_of(photo())))
    cut = int(len(packed) * share)
    packed[cut:] = bytes(len(packed) - cut)
    return png(320, 240, bytes(packed))


def png_that_ends_early(share: float = 0.5) -> bytes:
    """A whole stream of too few rows."""
    rows = rows_of(photo())
    return png(320, 240, zlib.compress(rows[: int(240 * share) * (1 + 3 * 320)]))


# the others


def gif_of(frames: int, side: int = 64) -> bytes:
    """An animation of many small frames."""
    whole = encoded(photo(side, side).quantize(8), "GIF")
    start = whole.index(b",")
    return whole[:start] + whole[start:-1] * frames + b";"


def gif_beyond_its_canvas(side: int = 65_000) -> bytes:
    """A frame that lies outside, so that the canvas has to grow."""
    whole = bytearray(encoded(photo(8, 8).quantize(8), "GIF"))
    start = whole.index(b",")
    whole[start + 1 : start + 5] = struct.pack("<HH", side, side)
    return bytes(whole)


def gif_in_pieces(blocks: int) -> bytes:
    """A comment in blocks of one byte."""
    whole = encoded(photo(8, 8).quantize(8), "GIF")
    start = whole.index(b",")
    return whole[:start] + b"!\xfe" + b"\1x" * blocks + b"\0" + whole[start:]


def webp_of(side: int) -> bytes:
    """One colour, lossy."""
    return encoded(Image.new("RGB", (side, side)), "WEBP", method=0, quality=0)


def webp_with_a_canvas(side: int) -> bytes:
    """A small picture on a canvas that is said to be large."""
    content = encoded(photo(64, 64), "WEBP")[12:]
    extended = b"VP8X" + struct.pack("<I", 10) + bytes(4) + struct.pack("<I", side - 1)[:3] * 2
    body = b"WEBP" + extended + content
    return b"RIFF" + struct.pack("<I", len(body)) + body


def bmp_of(side: int, runs: bytes | None = None) -> bytes:
    """Run-length encoded if there are runs, otherwise a header alone."""
    data = b"" if runs is None else runs
    header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 0 if runs is None else 1, len(data), 0, 0, 256, 0)
    return (
        b"BM"
        + struct.pack("<IHHI", 14 + 40 + 1024 + len(data), 0, 0, 14 + 40 + 1024)
        + header
        + bytes(range(256)) * 4
        + data
    )


def tiff(tags: dict[int, tuple[int, list[int]]], data: bytes = b"", following: int = 0) -> bytes:
    """A little-endian TIFF of one directory; `data` stands at 8."""
    place = 8 + len(data)
    longer, entries = b"", []
    after = place + 2 + 12 * len(tags) + 4
    for tag, (kind, values) in sorted(tags.items()):
        packed = struct.pack(f"<{len(values)}{'HI'[kind == 4]}", *values)
        if len(packed) > 4:
            entries.append(struct.pack("<HHII", tag, kind, len(values), after + len(longer)))
            longer += packed
        else:
            entries.append(struct.pack("<HHI", tag, kind, len(values)) + packed.ljust(4, b"\0"))
    return (
        b"II*\0" + struct.pack("<I", place) + data + struct.pack("<H", len(entries)) + b"".join(entries)
        + struct.pack("<I", following) + longer
    )  # fmt: skip


def grey_tiff(width: int, height: int, tags: dict[int, list[int]], data: bytes, following: int = 0) -> bytes:
    """One of 8 bits a sample."""
    common = {256: [width], 257: [height], 258: [8], 262: [1], 277: [1]}
    short = {258, 259, 262, 277}
    return tiff({tag: (3 if tag in short else 4, found) for tag, found in (common | tags).items()}, data, following)


def tiff_of_strips(strips: int) -> bytes:
    """A column of pixels, each a strip of its own, all at the same place."""
    return grey_tiff(1, strips, {259: [1], 273: [8] * strips, 278: [1], 279: [1] * strips}, bytes(8))


def tiff_of_one_tile(side: int, tile: int) -> bytes:
    """Deflated, in one tile much larger than the picture."""
    data = zlib.compress(bytes(64))
    return grey_tiff(side, side, {259: [8], 322: [tile], 323: [tile], 324: [8], 325: [len(data)]}, data)


def tiff_bomb(side: int) -> bytes:
    """Deflated, in one strip of one colour."""
    data = zeros(side * side)
    return grey_tiff(side, side, {259: [8], 273: [8], 278: [side], 279: [len(data)]}, data)


def tiff_without_end() -> bytes:
    """Its directory is followed by itself."""
    return grey_tiff(8, 8, {259: [1], 273: [8], 278: [8], 279: [64]}, bytes(64), 8 + 64)


def tiff_of_a_jpeg(jpeg: bytes, side: int) -> bytes:
    """A JPEG inside."""
    return grey_tiff(side, side, {259: [7], 273: [8], 278: [side], 279: [len(jpeg)]}, jpeg)


def turned_tiff(orientation: int) -> bytes:
    """A picture that lies on its side, or upside down."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(photo(), "TIFF", exif=exif)


def _in_pieces(count: int) -> bytes:
    """A picture's stream in chunks of one byte, and empty ones."""
    whole = png(8, 8, zeros(200))
    start = whole.index(b"IDAT") - 4
    return whole[:start] + chunk(b"IDAT", b"") * count + whole[start:]


_NO_END = segment(0xFE, b"\xff\xd9")
_TEXT, _PROFILE = (chunk(kind, b"k\0\0" + zeros(2**20)) for kind in (b"zTXt", b"iCCP"))

TRAPS: dict[str, Trap] = {
    "many scans": Trap(lambda: jpeg_of_scans(4000, 9000), "too_large"),
    "many scans behind ends that are none": Trap(lambda: jpeg_of_scans(4000, 9000, _NO_END), "too_large"),
    "many scans of a baseline picture": Trap(lambda: jpeg_of_scans(2000, 200, progressive=False), "not_an_image"),
    "many scans in an MPO": Trap(lambda: mpo(jpeg_of_scans(4000, 9000)), "too_large"),
    "many scans in a TIFF": Trap(lambda: tiff_of_a_jpeg(jpeg_of_scans(4000, 9000), 4000), "not_an_image"),
    "a million comments": Trap(lambda: jpeg_with([segment(0xFE, b"")] * 10**6), "too_large"),
    "a million pieces of EXIF": Trap(lambda: jpeg_with([segment(0xE1, b"Exif\0\0x")] * 10**6), "too_large"),
    "29 MB of filling": Trap(lambda: jpeg_with([b"\xff" * (29 * 2**20)]), "too_large"),
    "29 MB of junk": Trap(lambda: jpeg_with([segment(0xFE, b""), bytes(29 * 2**20)]), "too_large"),
    "a JPEG of 4 gigapixels": Trap(lambda: jpeg_of_scans(65_500, 0), "too_large"),
    "PNG bomb": Trap(lambda: png_bomb(20_000), "too_large"),
    "PNG bomb within the limit": Trap(lambda: png_bomb(9_990), "success"),
    "PNG with a broken stream": Trap(png_with_a_broken_stream, "not_an_image"),
    "PNG that ends early": Trap(png_that_ends_early, "not_an_image"),
    "a million chunks": Trap(lambda: png(8, 8, zeros(200), chunk(b"teXt", b"") * 10**6), "too_large"),
    "a million pieces of a stream": Trap(lambda: _in_pieces(10**6), "too_large"),
    "a hundred text bombs": Trap(lambda: png(8, 8, zeros(200), _TEXT * 100), "not_an_image"),
    "a thousand profile bombs": Trap(lambda: png(8, 8, zeros(200), _PROFILE * 1000), "success"),
    "a GIF of 20,000 frames": Trap(lambda: gif_of(20_000), "success"),
    "a GIF beyond its canvas": Trap(gif_beyond_its_canvas, "too_large"),
    "a GIF in pieces": Trap(lambda: gif_in_pieces(14 * 2**20), "too_large"),
    "a large WebP": Trap(lambda: webp_of(9_999), "too_large"),
    "a WebP with a large canvas": Trap(lambda: webp_with_a_canvas(2**24), "too_large"),
    "a BMP without pixels": Trap(lambda: bmp_of(60_000), "too_large"),
    "a BMP of empty lines": Trap(lambda: bmp_of(9_000, b"\1\0\0\0" * 9_000), "too_large"),
    "a BMP of runs without a pixel": Trap(lambda: bmp_of(4_000, b"\0\2\0\0" * (7 * 2**20)), "not_an_image"),
    "a TIFF of millions of strips": Trap(lambda: tiff_of_strips(39 * 10**5), "too_large"),
    "a TIFF of one large tile": Trap(lambda: tiff_of_one_tile(8, 60_000), "too_large"),
    "a TIFF without end": Trap(tiff_without_end, "success"),
    "TIFF bomb": Trap(lambda: tiff_bomb(20_000), "too_large"),
    "a TIFF on its side": Trap(lambda: turned_tiff(6), "success"),
}
