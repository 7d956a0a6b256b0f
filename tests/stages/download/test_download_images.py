from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from loopback import Run, Web, encoded, picture
from PIL import Image, ImageFile
from traps import TRAPS

from stages.download.conversion import convert
from stages.download.messages import Answer, Sizes, Wanted
from stages.download.spec import DownloadRecipe
from stages.pictures import decoder


def converted(content: bytes, **recipe: Any) -> Answer:
    """What becomes of a picture in a decoder process, here without one."""
    settings = DownloadRecipe(**{"image_size": 32, "max_aspect_ratio": None, **recipe})
    return convert(content, Wanted(*(getattr(settings, name) for name in Wanted._fields)), lambda: None)


def stored(content: bytes, **recipe: Any) -> Image.Image:
    answer = converted(content, **recipe)
    assert answer.status == "success", answer
    assert answer.sizes is not None
    opened = Image.open(io.BytesIO(answer.content or content))
    assert opened.size == answer.sizes[:2]
    return opened


def colour(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"), np.float64).mean((0, 1))


def png16(samples: np.ndarray) -> bytes:
    done, content = cv2.imencode(".png", samples)
    assert done
    return content.tobytes()


@pytest.mark.parametrize("size", [(24, 16), (80, 64)])
@pytest.mark.parametrize(
    ("mode", "image_format"),
    [
        ("RGB", "JPEG"),
        ("L", "JPEG"),
        ("CMYK", "JPEG"),
        ("RGB", "PNG"),
        ("L", "PNG"),
        ("P", "PNG"),
        ("1", "PNG"),
        ("RGB", "WEBP"),
        ("RGB", "GIF"),
        ("RGB", "BMP"),
        ("RGB", "TIFF"),
    ],
)
def test_every_kind_of_image_keeps_its_colours(mode: str, image_format: str, size: tuple[int, int]) -> None:
    original = picture(*size).convert(mode)
    image = stored(encoded(original, image_format))
    assert image.format == "JPEG"
    assert min(image.size) == min(32, *size)
    np.testing.assert_allclose(colour(image), colour(original), atol=4)


def test_what_need_not_change_is_stored_as_it_came() -> None:
    content = encoded(picture(24, 16), quality=40)
    assert converted(content) == Answer("success", None, Sizes(24, 16, 24, 16), None)


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "GIF"])
def test_transparent_parts_become_white(image_format: str) -> None:
    image = Image.new("RGBA", (24, 16), (200, 0, 0, 0))
    np.testing.assert_allclose(colour(stored(encoded(image, image_format))), 255, atol=3)


@pytest.mark.parametrize("size", [(24, 16), (80, 64)])
@pytest.mark.parametrize("shape", [(), (3,), (4,)])
def test_16_bits_a_sample_do_not_saturate(size: tuple[int, int], shape: tuple[int, ...]) -> None:
    samples = np.full((size[1], size[0], *shape), 100 * 257, np.uint16)
    if shape == (4,):
        samples[..., 3] = 65535
    np.testing.assert_allclose(colour(stored(png16(samples))), 100, atol=2)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_stored_upright(orientation: int) -> None:
    upright = Image.new("RGB", (80, 40), "black")
    upright.paste("red", (0, 0, 40, 20))  # the upper left quarter
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    lying = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = stored(encoded(lying, exif=exif))
    assert image.size == (64, 32)
    assert image.getexif().get(0x0112, 1) == 1
    assert image.convert("RGB").getpixel((8, 8))[0] > 200  # type: ignore[index]
    assert image.convert("RGB").getpixel((56, 24))[0] < 50  # type: ignore[index]


def test_the_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("RGB", (24, 16), name) for name in ("red", "blue")]
    for image_format in ("GIF", "WEBP"):
        content = encoded(frames[0], image_format, save_all=True, append_images=frames[1:])
        np.testing.assert_allclose(colour(stored(content)), (254, 0, 0), atol=6)


def test_one_pixel_is_an_image() -> None:
    assert stored(encoded(picture(1, 1), "PNG")).size == (1, 1)


@pytest.mark.parametrize("encode_format", ["jpg", "png", "webp"])
def test_stored_formats(encode_format: str) -> None:
    quality = 9 if encode_format == "png" else 80
    image = stored(encoded(picture(80, 64)), encode_format=encode_format, encode_quality=quality)
    assert image.format == {"jpg": "JPEG"}.get(encode_format, encode_format.upper())


@pytest.mark.parametrize(
    ("encode_format", "size", "status"),
    [
        ("jpg", (2, 65_500), "success"),
        ("jpg", (2, 65_501), "bad_aspect"),
        ("jpg", (64, 65_501), "success"),  # halved
        ("webp", (16_383, 2), "success"),
        ("webp", (16_384, 2), "bad_aspect"),
        ("png", (2, 1_000_000), "success"),
        ("png", (2, 1_000_001), "bad_aspect"),
    ],
)
def test_images_too_long_for_the_format_are_refused(
    encode_format: str, size: tuple[int, int], status: str, capfd: pytest.CaptureFixture[str]
) -> None:
    content = encoded(Image.new("L", size), "PNG")
    assert converted(content, encode_format=encode_format, encode_quality=5).status == status
    assert capfd.readouterr() == ("", "")


def test_a_decompression_bomb_is_refused() -> None:
    assert converted(raw_png(60_000, 60_000, 8, 2, [])).status == "too_large"


FILES = {
    "JPEG": encoded(picture(48, 40)),
    "progressive": encoded(picture(48, 40), progressive=True),
    "PNG": encoded(picture(48, 40), "PNG"),
    "WEBP": encoded(picture(48, 40), "WEBP"),
    "GIF": encoded(picture(48, 40), "GIF"),
    "TIFF": encoded(picture(48, 40), "TIFF"),
}


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(sorted(FILES)), st.floats(0, 0.9))
def test_a_truncated_file_is_not_an_image(kind: str, share: float) -> None:
    content = FILES[kind]
    answer = converted(content[: int(len(content) * share)])
    assert (answer.status, answer.content) == ("not_an_image", None)
    assert answer.words


@settings(deadline=None, max_examples=150)
@example("TIFF", 30, b"\x00\x00\x02")  # 131,072 pixels high
@given(st.sampled_from(sorted(FILES)), st.integers(0, 10**6), st.binary(min_size=1, max_size=8))
def test_damaged_bytes_are_an_image_that_pil_reads_or_none(kind: str, place: int, damage: bytes) -> None:
    content = bytearray(FILES[kind])
    place %= len(content)
    content[place : place + len(damage)] = damage
    answer = converted(bytes(content))
    if answer.sizes is None:
        # damage may make an image very long, or of more pixels than are decoded
        assert answer.status in ("not_an_image", "bad_aspect", "too_large")
        assert answer.words
        assert " at 0x" not in answer.words
    else:
        Image.open(io.BytesIO(answer.content or content)).convert("RGB")


@settings(deadline=None)
@given(st.binary(max_size=64))
def test_noise_is_not_an_image(content: bytes) -> None:
    assert converted(content).status == "not_an_image"


RAMP = np.add.outer(np.arange(24) * 257 * 4, np.arange(32) * 257 * 3).astype(np.uint16)
"""16-bit samples whose 8-bit values, by the definition of a rescaling (sample x 255 / 65535), are whole numbers."""
EIGHT = (RAMP // 257).astype(np.uint8)
PALETTE = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (10, 20, 30)]
PLACES = np.add.outer(np.arange(24), np.arange(32)) % 4


def lossless(content: bytes) -> np.ndarray:
    """The stored pixels, with nothing resized and nothing lost."""
    return np.asarray(stored(content, image_size=384, encode_format="png", encode_quality=1).convert("RGB"))


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=2)


def raw_png(
    width: int, height: int, depth: int, colour_type: int, rows: list[bytes], *chunks: tuple[bytes, bytes]
) -> bytes:
    """A PNG written by hand from the specification, so that no library's reading of a mode is taken on trust."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    between = b"".join(chunk(name, content) for name, content in chunks)
    return b"\x89PNG\r\n\x1a\n" + header + between + data + chunk(b"IEND", b"")


def test_16_bit_grey_png_keeps_its_values() -> None:
    content = raw_png(32, 24, 16, 0, [row.astype(">u2").tobytes() for row in RAMP])
    np.testing.assert_array_equal(lossless(content), grey(EIGHT))


def test_16_bit_grey_tiff_of_either_byte_order_keeps_its_values() -> None:
    for order in ("<u2", ">u2"):
        image = Image.frombytes("I;16" if order == "<u2" else "I;16B", (32, 24), RAMP.astype(order).tobytes())
        np.testing.assert_array_equal(lossless(encoded(image, "TIFF")), grey(EIGHT))


def test_16_bit_grey_with_alpha_lies_on_white() -> None:
    rows = [np.stack([row, np.where(np.arange(32) < 16, 0, 65535)], 1).astype(">u2").tobytes() for row in RAMP]
    expected = np.where(np.arange(32) < 16, 255, EIGHT)
    np.testing.assert_allclose(lossless(raw_png(32, 24, 16, 4, rows)), grey(expected), atol=1)


def test_a_palette_with_a_transparent_entry_lies_on_white() -> None:
    chunks = ((b"PLTE", bytes(sum(PALETTE, ()))), (b"tRNS", bytes([255, 0, 255])))  # the second entry, green
    rows = [bytes(row) for row in PLACES.astype(np.uint8)]
    expected = np.array([(255, 0, 0), (255, 255, 255), (0, 0, 255), (10, 20, 30)])[PLACES]
    np.testing.assert_array_equal(lossless(raw_png(32, 24, 8, 3, rows, *chunks)), expected)
    np.testing.assert_array_equal(lossless(raw_png(32, 24, 8, 3, rows, chunks[0])), np.array(PALETTE)[PLACES])


def test_a_transparent_colour_lies_on_white() -> None:
    rows = [bytes(row) for row in EIGHT]
    expected = grey(np.where(EIGHT == 100, 255, EIGHT))
    np.testing.assert_array_equal(lossless(raw_png(32, 24, 8, 0, rows, (b"tRNS", struct.pack(">H", 100)))), expected)
    colours = [np.array(PALETTE, np.uint8)[row].tobytes() for row in PLACES]
    expected = np.array([(255, 0, 0), (255, 255, 255), (0, 0, 255), (10, 20, 30)])[PLACES]
    content = raw_png(32, 24, 8, 2, colours, (b"tRNS", struct.pack(">HHH", 0, 255, 0)))
    np.testing.assert_array_equal(lossless(content), expected)


@pytest.mark.parametrize("alpha", [0, 51, 128, 255])
def test_half_transparent_pixels_are_mixed_with_white(alpha: int) -> None:
    rows = [np.stack([row, np.full(32, alpha)], 1).astype(np.uint8).tobytes() for row in EIGHT]
    expected = EIGHT * (alpha / 255) + 255 * (1 - alpha / 255)
    np.testing.assert_allclose(lossless(raw_png(32, 24, 8, 4, rows)), grey(expected), atol=1)
    colours = [
        np.concatenate([np.array(PALETTE)[row], np.full((32, 1), alpha)], 1).astype(np.uint8).tobytes()
        for row in PLACES
    ]
    expected = np.array(PALETTE)[PLACES] * (alpha / 255) + 255 * (1 - alpha / 255)
    np.testing.assert_allclose(lossless(raw_png(32, 24, 8, 6, colours)), expected, atol=1)


def test_one_bit_is_black_and_white() -> None:
    rows = [bytes([0b11110000] * 4) for _ in range(24)]
    expected = np.tile([255] * 4 + [0] * 4, (24, 4)).astype(np.uint8)
    np.testing.assert_array_equal(lossless(raw_png(32, 24, 1, 0, rows)), grey(expected))


@pytest.mark.parametrize(
    ("ink", "colour_of_it"),
    [
        ((0, 0, 0, 0), (255, 255, 255)),
        ((255, 0, 0, 0), (0, 255, 255)),
        ((0, 255, 0, 0), (255, 0, 255)),
        ((0, 0, 255, 0), (255, 255, 0)),
        ((0, 0, 0, 255), (0, 0, 0)),
        ((0, 128, 255, 0), (255, 127, 0)),
    ],
)
def test_cmyk_jpeg_shows_its_inks_on_paper(ink: tuple[int, ...], colour_of_it: tuple[int, ...]) -> None:
    content = encoded(Image.new("CMYK", (32, 24), ink), quality=100)
    assert b"Adobe" in content[:64]  # whose CMYK is stored inverted, as every program that writes it does
    np.testing.assert_allclose(lossless(content), np.broadcast_to(colour_of_it, (24, 32, 3)), atol=3)


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_frames_the_first_is_shown(image_format: str) -> None:
    frames = [Image.new("RGB", (32, 24), colour) for colour in ((255, 0, 0), (0, 0, 255), (0, 255, 0))]
    options = {"lossless": True} if image_format == "WEBP" else {}
    content = encoded(frames[0], image_format, save_all=True, append_images=frames[1:], **options)
    np.testing.assert_array_equal(lossless(content), np.broadcast_to((255, 0, 0), (24, 32, 3)))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "I;16", "CMYK"])
def test_large_images_are_reduced_in_strips_to_what_they_are_in_one_piece(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    smooth = picture(312, 264, seed=4)  # whole multiples of 6, the factor here
    image = {"P": smooth.quantize(64), "I;16": Image.fromarray(np.asarray(smooth.convert("L")).astype(np.uint16) * 257)}
    content = encoded(image[mode] if mode in image else smooth.convert(mode), "TIFF" if mode == "CMYK" else "PNG")
    recipe: dict[str, Any] = {"image_size": 20, "encode_format": "png", "encode_quality": 1}
    whole = converted(content, **recipe)
    monkeypatch.setattr(decoder, "LARGE", 4096)
    reduced = converted(content, **recipe)
    assert reduced[:3] == whole[:3]  # the original size among it
    pixels = [np.asarray(Image.open(io.BytesIO(found.content or b"")), np.float64) for found in (whole, reduced)]
    np.testing.assert_allclose(pixels[0], pixels[1], atol=6)  # a palette's steps fall on both sides of a boundary


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_jpeg_is_reduced_while_it_is_decoded(orientation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(picture(800, 400, seed=6), quality=95, exif=exif)
    whole = converted(content)
    monkeypatch.setattr(decoder, "LARGE", 4096)
    reduced = converted(content)
    assert reduced[:3] == whole[:3]
    assert reduced.sizes is not None
    assert reduced.sizes[2:] == ((800, 400) if orientation == 1 else (400, 800))
    pixels = [np.asarray(Image.open(io.BytesIO(found.content or b"")), np.float64) for found in (whole, reduced)]
    assert abs(pixels[0] - pixels[1]).mean() < 2


def test_pixels_are_counted_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("decoded")

    content = encoded(picture(64, 48), "PNG")
    for cls in (Image.Image, ImageFile.ImageFile):
        monkeypatch.setattr(cls, "load", never)
    refused = converted(content, max_pixels=64 * 48 - 1)
    assert refused == Answer("too_large", "64 x 48 pixels are more than 3071")


@pytest.mark.parametrize("kind", ["EPS", "ICO", "PCX", "TGA", "PPM", "SGI"])
def test_formats_that_are_none_of_the_web_are_not_opened(kind: str) -> None:
    answer = converted(encoded(picture(32, 32), kind))
    assert answer.status == "not_an_image"
    assert answer.words.startswith("none of JPEG, PNG")  # type: ignore[union-attr]


QUICK = (
    "many scans",
    "many scans in an MPO",
    "PNG with a broken stream",
    "PNG that ends early",
    "a GIF beyond its canvas",
    "a WebP with a large canvas",
    "a BMP without pixels",
    "a TIFF of one large tile",
    "a TIFF without end",
    "a TIFF on its side",
)


def test_traps_among_pictures_cost_their_own_rows(web: Web, download: Run) -> None:
    rows, statuses = [], []
    for name in QUICK:
        rows += [{"url": web.image(f"/{name}".replace(" ", "-"), TRAPS[name].make())}, {"url": web.url("/good.jpg")}]
        statuses += [TRAPS[name].status, "success"]
    assert download(rows).table["status"].to_pylist() == statuses


def test_a_picture_that_opencv_does_not_encode_is_an_error_and_no_image(monkeypatch):
    monkeypatch.setattr(cv2, "imencode", lambda *_: (False, None))
    content = io.BytesIO()
    Image.new("RGB", (60, 50)).save(content, "PNG")
    with pytest.raises(RuntimeError, match="encoded nothing"):
        converted(content.getvalue())
