"""The one decoder: what it refuses and why, and that the rest is what Pillow shows."""

from __future__ import annotations

import io
import random
import zlib
from contextlib import suppress

import cv2
import damage
import numpy as np
import pytest
import traps
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps
from traps import chunk, encoded, jpeg_of_scans, photo, png, segment, tiff_of_strips, zeros

from stages.download.conversion import convert
from stages.pictures import PictureError, TooLargeError, decode, decoder, rgb


def upright(content: bytes) -> np.ndarray:
    """The picture by Pillow alone."""
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB"))


def jpegs_that_opencv_reads_and_pillow_refuses(count: int) -> list[bytes]:
    whole, rng, found = encoded(photo(), quality=88), random.Random(11), []
    while len(found) < count:
        data = bytearray(whole)
        for _ in range(rng.choice((1, 2, 3, 5))):
            data[rng.randrange(2, len(data) - 2)] = rng.randrange(256)
        try:
            Image.open(io.BytesIO(data)).load()
        except OSError:
            if cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is not None:
                found.append(bytes(data))
    return found


def test_what_opencv_reads_and_pillow_does_not_is_no_picture() -> None:
    for content in jpegs_that_opencv_reads_and_pillow_refuses(3):
        with pytest.raises(PictureError, match="broken data stream"):
            decode(content)


SCANS = {
    "one after the other": jpeg_of_scans(4000, 300),
    "behind ends that are none": jpeg_of_scans(4000, 300, segment(0xFE, b"\xff\xd9")),
    "among starts that are none": jpeg_of_scans(4000, 300, segment(0xFE, b"\xff\xda" * 30)),
    "in the first of two pictures": traps.mpo(jpeg_of_scans(4000, 300)),
}


@pytest.mark.parametrize("kind", SCANS)
def test_more_scans_than_any_program_writes_are_refused_from_the_markers(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", never)
    with pytest.raises(TooLargeError, match=r"^301 scans are too many for 4000 x 4000 pixels"):
        decode(SCANS[kind])


def never(*_: object) -> None:
    raise AssertionError("decoded")


def test_a_progressive_jpeg_has_its_scans() -> None:
    for options in ({}, {"progressive": True}, {"progressive": True, "restart_marker_blocks": 1}):
        content = encoded(photo(), comment=b"\xff\xda" * 40, **options)
        assert np.array_equal(np.asarray(decode(content)), upright(content))
    small = jpeg_of_scans(64, 2000)
    assert decode(small).size == (64, 64)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (traps.jpeg_with([segment(0xFE, b"")] * 4100), "4096 segments"),
        (traps.jpeg_with([segment(0xE1, b"Exif\0\0x")] * 4100), "4096 segments"),
        (traps.jpeg_with([b"\xff" * 70_000]), "65536 bytes between its segments"),
        (png(8, 8, zeros(200), chunk(b"teXt", b"") * 100_001), "100000 chunks"),
        (png(8, 8, zeros(200), chunk(b"IDAT", b"") * 100_001), "100000 chunks"),
        (png(8, 8, zeros(200), chunk(b"iCCP", b"k\0\0" + zeros(99)) * 1001), "1000 texts and profiles"),
        (tiff_of_strips(100_001), "100000 strips or tiles"),
        (traps.tiff_of_one_tile(8, 60_000), "939 MiB, more than 800"),
        (traps.bmp_of(9000, b"\1\0\0\0" * 99), "9000 x 9000 pixels are too many for a run-length encoded BMP"),
        (traps.gif_beyond_its_canvas(), "65008 x 65008 pixels are more than 268435456"),
        (traps.webp_with_a_canvas(2**24), "16777216 x 16777216 pixels are more than 268435456"),
        (traps.webp_with_a_canvas(9999), "1620 MiB, more than 800"),
        (png(60_000, 60_000, b"", colour=3), "60000 x 60000 pixels are more than 268435456"),
        (png(12_000, 12_000, b"", colour=6), "1098 MiB, more than 800"),
        (jpeg_of_scans(16_000, 15), "16 scans are too many for 16000 x 16000 pixels"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else value,
)
def test_what_asks_for_too_much_is_refused_before_a_pixel_is_decoded(
    content: bytes, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", never)
    with pytest.raises(TooLargeError, match=words):
        decode(content)


@pytest.mark.parametrize("lace", [0, 1])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_a_png_whose_stream_breaks_or_ends_early_is_no_picture(share: float, lace: int) -> None:
    rows = laced(photo(64, 48)) if lace else [b"\0" + row.tobytes() for row in np.asarray(photo(64, 48))]
    whole, part = (zlib.compress(b"".join(some)) for some in (rows, rows[: int(len(rows) * share)]))
    assert np.array_equal(np.asarray(decode(png(64, 48, whole, lace=lace))), np.asarray(photo(64, 48)))
    broken = whole[: int(len(whole) * share)].ljust(len(whole), b"\0")
    for data in (part, broken, whole[: int(len(whole) * share)]):
        with pytest.raises(PictureError):
            decode(png(64, 48, data, lace=lace))


def laced(image: Image.Image) -> list[bytes]:
    """The rows of an interlaced PNG, by the specification."""
    pixels = np.asarray(image)
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    return [b"\0" + row.tobytes() for x, y, dx, dy in passes for row in pixels[y::dy, x::dx]]


def test_black_below_is_a_picture() -> None:
    image = photo(64, 48)
    image.paste("black", (0, 30, 64, 48))
    content = encoded(image, "PNG")
    assert np.array_equal(np.asarray(decode(content)), np.asarray(image))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["TIFF", "JPEG", "PNG", "WEBP", "AVIF"])
def test_pictures_are_turned_once(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(photo(48, 32), kind, exif=exif)
    assert decode(content).size == ((48, 32) if orientation < 5 else (32, 48))
    assert np.array_equal(np.asarray(decode(content)), upright(content))


def test_a_broken_exif_block_makes_no_broken_picture() -> None:
    for exif in (b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0nothing", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"):
        content = traps.jpeg_with([segment(0xE1, exif)], photo(48, 32))
        assert np.array_equal(np.asarray(decode(content)), np.asarray(Image.open(io.BytesIO(content))))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_a_large_picture_comes_smaller(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image = photo(360, 240)
    content = encoded(image.quantize(64) if kind == "GIF" else image, kind)
    whole = np.asarray(decode(content), float)
    monkeypatch.setattr(decoder, "LARGE", 360 * 240 // 3)
    monkeypatch.setattr(rgb, "STRIP", 4096)
    reduced = decode(content)
    assert reduced.size == (180, 120)
    assert abs(np.asarray(reduced, float) - whole.reshape(120, 2, 180, 2, 3).mean((1, 3))).mean() < 2


def test_the_words_are_one_line_of_print() -> None:
    error = PictureError("chunk \x1b[31m\x00\n  at 0x7f00 is broken" + "!" * 999)
    assert str(error).startswith("chunk [31m is broken!!!")
    assert len(str(error)) == 300


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=200), st.sampled_from(sorted(damage.originals())))
def test_whatever_follows_a_right_beginning_raises_a_picture_error_or_is_a_picture(rest: bytes, kind: str) -> None:
    content = damage.originals()[kind][:40] + rest
    with suppress(PictureError):  # nothing else
        assert decode(content).mode == "RGB"


def test_damaged_pictures_are_what_pillow_shows_or_none(capfd: pytest.CaptureFixture[str]) -> None:
    statuses, faults = damage.run(162, 1, lambda data, wanted: convert(data, wanted, lambda: None))
    capfd.readouterr()  # libtiff speaks its mind
    assert not faults
    assert min(statuses["success"], statuses["not_an_image"]) > 40


@pytest.mark.slow
def test_many_damaged_pictures_are_what_pillow_shows_or_none(capfd: pytest.CaptureFixture[str]) -> None:
    statuses, faults = damage.run(2000, 12, lambda data, wanted: convert(data, wanted, lambda: None))
    capfd.readouterr()
    assert not faults
    assert statuses["success"] > 500
