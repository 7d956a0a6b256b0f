"""Whether bytes are an image, decided by PIL, which every later stage reads the images with.

What OpenCV (img2dataset's decoder) would read differently is first made plain here: it ignores the EXIF orientation,
saturates 16-bit samples to white, and knows fewer palettes and colour spaces.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Final

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from stages.download.statuses import RefusedError

_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes an image upright, by EXIF orientation."""
_ON_ITS_SIDE: Final = tuple(_TURNS[orientation] for orientation in (5, 6, 7, 8))
_READ_ALIKE: Final = {("JPEG", "RGB"), ("JPEG", "L"), ("WEBP", "RGB")}
"""Formats and modes that OpenCV and PIL decode to the same image."""
_FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "AVIF", "BMP", "TIFF", "MPO")
"""What is read: the web's formats, and TIFF. PIL knows forty more; one runs Ghostscript on what it is given."""
_LARGE: Final = 2**24
"""Pixels beyond which an image is decoded with care for memory: 100 million pixels would take 2 GB otherwise."""

Image.MAX_IMAGE_PIXELS = None  # PIL's limit for the whole process; `Picture` has one of its own


class Picture:
    """An image of which the header has been read; the rest follows on demand."""

    def __init__(self, encoded: bytes, max_pixels: int) -> None:
        """Read the header.

        Raises:
            RefusedError: these bytes are no image, or one of more than `max_pixels`.
        """
        self._encoded = encoded
        with _refusing():
            self._image = Image.open(io.BytesIO(encoded), formats=_known_formats())
            self._turn = _TURNS.get(_orientation(self._image))
        width, height = self._image.size
        if width * height > max_pixels:
            raise RefusedError("too_large", f"{width} x {height} pixels are more than {max_pixels}")
        self.is_large = width * height > _LARGE
        """Whether decoding it takes so much memory that it should be the only one at a time."""
        self.size = (height, width) if self._turn in _ON_ITS_SIDE else (width, height)
        """Width and height in pixels when it is upright."""

    def check(self) -> None:
        """Decode it to its end.

        Raises:
            RefusedError: it is malformed, or truncated.
        """
        with _refusing():
            _decode_cheaply(self._image)

    def plain(self, shorter: int) -> bytes:
        """The same image, upright and such that OpenCV reads it as PIL does; most images are returned as they are.

        Args:
            shorter: pixels of the shorter side that it will be scaled down to; a large image may come with less
                detail, but at least twice that many.

        Raises:
            RefusedError: it is malformed, or truncated.
        """
        image = self._image
        reduced = self.is_large and min(image.size) >= 4 * shorter
        with _refusing():
            if self._turn is None and not reduced and _is_read_alike(image):
                if not _has_jpeg_end(self._encoded):
                    _decode_cheaply(image)
                return self._encoded
            if reduced:
                image.draft(None, (2 * shorter, 2 * shorter))  # what a JPEG can be spared of being decoded to
            flat = _in_strips(image, min(image.size) // (2 * shorter)) if reduced else _to_rgb(image)
            buffer = io.BytesIO()
            upright = flat if self._turn is None else flat.transpose(self._turn)
            upright.save(buffer, "BMP")  # lossless, and quick both ways
            return buffer.getvalue()


def _is_read_alike(image: Image.Image) -> bool:
    return (image.format, image.mode) in _READ_ALIKE and not getattr(image, "is_animated", False)


def _has_jpeg_end(encoded: bytes) -> bool:
    """Whether the last bytes are a JPEG's end marker: then no decoder runs out of data.

    OpenCV sees what else may be wrong. Without the marker it paints what is missing grey, and says nothing.
    """
    return encoded.endswith(b"\xff\xd9")


def _decode_cheaply(image: Image.Image) -> None:
    """Decode to the end, a JPEG at an eighth of its size: that finds a truncation as well in a quarter of the time."""
    image.draft(None, (max(1, image.width // 8), max(1, image.height // 8)))
    image.load()


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001, a broken EXIF block makes no broken image
        return 1


def _in_strips(image: Image.Image, factor: int) -> Image.Image:
    """`_to_rgb` with every `factor` x `factor` pixels averaged, of a strip at a time: none of it is there twice."""
    width, height = image.size
    whole = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    rows = factor * max(1, _LARGE // 16 // (width * factor))
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        strip.info = image.info
        whole.paste(_to_rgb(strip).reduce(factor), (0, top // factor))
    return whole


def _to_rgb(image: Image.Image) -> Image.Image:
    """8 bits a sample, three channels, transparent parts on white."""
    if image.mode.startswith("I;16"):
        samples = np.asarray(image)
        return Image.fromarray((samples // 257).astype(np.uint8)).convert("RGB")
    if "A" not in image.getbands() and "transparency" not in image.info:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


@cache
def _known_formats() -> tuple[str, ...]:
    """Those of `_FORMATS` that this build of PIL reads."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


@contextmanager
def _refusing() -> Iterator[None]:
    """Whatever goes wrong with the bytes of a stranger makes a row that is no image."""
    try:
        yield
    except UnidentifiedImageError as error:  # its words hold a memory address and nothing else
        raise RefusedError("not_an_image", f"none of {', '.join(_known_formats())}") from error
    except Exception as error:  # decoders raise whatever they like on malformed input
        raise RefusedError("not_an_image", str(error) or type(error).__name__) from error
