from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from loopback import encoded, picture
from PIL import Image

from stages.download.fit import Fit
from stages.download.spec import DownloadRecipe

FIT = Fit(DownloadRecipe(image_size=32))


def stored(content: bytes, fit: Fit = FIT) -> Image.Image:
    outcome, image = fit.image(content)
    assert outcome.status == "success", outcome
    assert image is not None
    opened = Image.open(io.BytesIO(image))
    assert opened.size == (outcome.width, outcome.height)
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
    assert FIT.image(content)[1] == content


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
    fit = Fit(
        DownloadRecipe(image_size=32, encode_format=encode_format, encode_quality=9 if encode_format == "png" else 80)
    )
    image = stored(encoded(picture(80, 64)), fit)
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
        ("png", (64, 2**20 + 1), "bad_aspect"),
    ],
)
def test_images_too_long_for_the_format_are_refused(
    encode_format: str, size: tuple[int, int], status: str, capfd: pytest.CaptureFixture[str]
) -> None:
    fit = Fit(DownloadRecipe(image_size=32, encode_format=encode_format, encode_quality=5))
    content = encoded(Image.new("L", size), "PNG")
    assert fit.image(content)[0].status == status
    assert capfd.readouterr() == ("", "")


def test_a_decompression_bomb_is_refused() -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(header)) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    outcome, image = FIT.image(b"\x89PNG\r\n\x1a\n" + chunk)
    assert (outcome.status, image) == ("not_an_image", None)


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
    outcome, image = FIT.image(content[: int(len(content) * share)])
    assert (outcome.status, image) == ("not_an_image", None)
    assert outcome.error


@settings(deadline=None, max_examples=150)
@example("TIFF", 30, b"\x00\x00\x02")  # 131,072 pixels high
@given(st.sampled_from(sorted(FILES)), st.integers(0, 10**6), st.binary(min_size=1, max_size=8))
def test_damaged_bytes_are_an_image_that_pil_reads_or_none(kind: str, place: int, damage: bytes) -> None:
    content = bytearray(FILES[kind])
    place %= len(content)
    content[place : place + len(damage)] = damage
    outcome, image = FIT.image(bytes(content))
    if image is None:
        assert outcome.status in ("not_an_image", "bad_aspect")  # damage may make an image very long
        assert outcome.error
        assert " at 0x" not in outcome.error
    else:
        Image.open(io.BytesIO(image)).convert("RGB")


@settings(deadline=None)
@given(st.binary(max_size=64))
def test_noise_is_not_an_image(content: bytes) -> None:
    assert FIT.image(content)[0].status == "not_an_image"
