"""From a file's bytes to pixels: RGB, upright, whole.

The header is judged before a pixel is decoded, and EXIF is read after: for some formats, reading it decodes the
picture.
"""

from __future__ import annotations

import io
import math
import sys
import warnings
from contextlib import nullcontext, suppress
from functools import cache
from importlib import import_module
from threading import Lock
from typing import Final

from PIL import ExifTags, Image, ImageOps

from stages.pictures import structure
from stages.pictures.errors import MAX_MEMORY, PictureError, TooLargeError, refusing
from stages.pictures.memory import WEBP, estimate
from stages.pictures.png import is_whole
from stages.pictures.rgb import to_rgb

FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "AVIF", "BMP", "TIFF", "MPO")
"""What is read: the web's formats, and TIFF. Pillow knows forty more; one runs Ghostscript on what it is given."""
MAX_PIXELS: Final = 2**28
"""Pixels beyond which nothing is decoded, whatever a recipe says."""
LARGE: Final = 2**24
"""Pixels beyond which a picture comes reduced: no stage looks at so many."""
LARGE_MEMORY: Final = 96 * 2**20
"""Bytes of decoding beyond which a picture should be the only one at a time."""
_RUNS: Final = (1, 2)
"""The compressions of BMP that are run-length encodings."""
_MAX_RUNS: Final = 2**24
"""Pixels of such a BMP, which Pillow unpacks in Python."""
_ON_ITS_SIDE: Final = (5, 6, 7, 8)
"""EXIF orientations of a picture whose width is its height."""

Image.MAX_IMAGE_PIXELS = None  # Pillow's limit for the whole process; memory is bounded here, more closely
warnings.filterwarnings("ignore", module=r"PIL\.")  # on what is odd about a stranger's picture

_one_large = Lock()


def decode(encoded: bytes) -> Image.Image:
    """Decode a picture to its end.

    Args:
        encoded: a file of one of `FORMATS`.

    Returns:
        RGB, upright, transparent parts on white, 16-bit samples scaled to 8. One of more than `LARGE` pixels comes
        reduced by a whole number, so that what is held stays bounded whatever is decoded.

    Raises:
        PictureError: these bytes are no whole picture, or one of more than `MAX_PIXELS`, or decoding it takes more than
            `MAX_MEMORY`.
    """
    picture = Picture(encoded)
    with _one_large if picture.is_large else nullcontext():
        return picture.decode()


class Picture:
    """A picture of which the header has been read; the pixels follow on demand, once."""

    def __init__(self, encoded: bytes, *, max_pixels: int = MAX_PIXELS, shorter: int | None = None) -> None:
        """Read the header.

        Args:
            encoded: the file.
            max_pixels: beyond so many it is refused.
            shorter: pixels of the shorter side that it will be scaled down to; a large picture may come with less
                detail, but at least twice that many.

        Raises:
            PictureError: these bytes are no picture.
            TooLargeError: it has too many pixels, or would take too much memory or work.
        """
        self._encoded = encoded
        with refusing(known_formats()):
            structure.check_parts(encoded)
            if canvas := structure.webp_canvas(encoded):  # Pillow makes room for it to read the header
                _check_pixels(*canvas, max_pixels)
                _check_memory(WEBP * canvas[0] * canvas[1])
            self._image = Image.open(io.BytesIO(encoded), formats=known_formats())
            self.size = self._image.size
            """Width and height in pixels; once it is decoded, those of the upright picture."""
            _check_pixels(*self.size, max_pixels)
            self._factor = _reduction(*self.size, shorter)
            self._drafted = max(step for step in (1, 2, 4, 8) if step <= self._factor) if self._is_jpeg else 1
            self.memory = estimate(
                self._image, scans=self._count_scans(encoded), drafted=self._drafted, factor=self._factor
            )
            """Bytes that decoding takes, about, at the largest."""
            _check_memory(self.memory)
        self.is_large = self.memory > LARGE_MEMORY
        """Whether it should be the only one at a time."""
        self.is_changed = self._factor > 1
        """Whether the pixels are others than the file's, or lie otherwise; known once it is decoded."""
        self.kind = self._image.format, self._image.mode
        """Format and mode of the file, in Pillow's words."""

    def decode(self) -> Image.Image:
        """The pixels, as `stages.pictures.decode` gives them.

        Raises:
            PictureError: it is malformed, or truncated.
            TooLargeError: it takes more memory than there is.
        """
        image, drafted = self._image, self._drafted
        del self._image  # what it holds goes as soon as the pixels are there
        with refusing(known_formats()):
            if drafted > 1:
                image.draft(None, (image.width // drafted, image.height // drafted))
            image.load()
            if image.format == "PNG" and _may_lack_rows(image) and not is_whole(self._encoded):
                raise PictureError("its stream breaks off before its picture ends")
            self._turn_upright(image)
            return to_rgb(image, self._factor // drafted)

    @property
    def _is_jpeg(self) -> bool:
        return self._image.format in ("JPEG", "MPO")

    def _count_scans(self, encoded: bytes) -> int:
        """The scans of a JPEG, 1 of all else, unless it has so many that they are work without an end."""
        width, height = self.size
        if self._image.format == "BMP" and self._image.info.get("compression") in _RUNS and width * height > _MAX_RUNS:
            raise TooLargeError(f"{width} x {height} pixels are too many for a run-length encoded BMP")
        scans = structure.count_scans(encoded) if self._is_jpeg else 1
        if scans * width * height > structure.MAX_SCANNED:
            raise TooLargeError(f"{scans} scans are too many for {width} x {height} pixels")
        return scans

    def _turn_upright(self, image: Image.Image) -> None:
        before = image.im
        try:
            lies = image.getexif().get(ExifTags.Base.Orientation) in _ON_ITS_SIDE
            ImageOps.exif_transpose(image, in_place=True)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001, S110 - a broken EXIF block makes no broken picture
            pass
        if image.im is not before:
            self.is_changed = True
            self.size = self.size[::-1] if lies else self.size


def _may_lack_rows(image: Image.Image) -> bool:
    """Whether Pillow may have left some out: the last one is black, or they do not come in their order."""
    last = image.crop((0, image.height - 1, image.width, image.height)).tobytes()
    return "interlace" in image.info or last.count(0) == len(last)


def _reduction(width: int, height: int, shorter: int | None) -> int:
    """How many pixels, along each side, become one."""
    if width * height <= LARGE:
        return 1
    if shorter is None:
        return math.ceil(math.sqrt(width * height / LARGE))
    return max(1, min(width, height) // (2 * shorter))


def _check_pixels(width: int, height: int, limit: int) -> None:
    if width * height > limit:
        raise TooLargeError(f"{width} x {height} pixels are more than {limit}")


def _check_memory(needed: int) -> None:
    if needed > MAX_MEMORY:
        raise TooLargeError(f"decoding it takes about {needed >> 20} MiB, more than {MAX_MEMORY >> 20}")


@cache
def known_formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this build of Pillow reads; of an AVIF, one thread decodes at a time."""
    for name in ("Avif", "Bmp", "Gif", "Jpeg", "Mpo", "Png", "Tiff", "WebP"):
        with suppress(ImportError):
            import_module(f"PIL.{name}ImagePlugin")
    if avif := sys.modules.get("PIL.AvifImagePlugin"):
        vars(avif)["DEFAULT_MAX_THREADS"] = 1
    return tuple(name for name in FORMATS if name in Image.OPEN)
