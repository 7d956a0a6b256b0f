"""Whether bytes are an image, decided by PIL, which every later stage reads the images with.

What OpenCV (img2dataset's decoder) would read differently is first made plain here: it ignores the EXIF orientation,
saturates 16-bit samples to white, and knows fewer palettes and colour spaces.
"""

from __future__ import annotations

import io
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
_READ_ALIKE: Final = {("JPEG", "RGB"), ("JPEG", "L"), ("WEBP", "RGB"), ("WEBP", "RGBA")}
"""Formats and modes that OpenCV and PIL decode to the same image."""


def image_size(encoded: bytes) -> tuple[int, int]:
    """Width and height in pixels of an image that decodes to its end.

    Raises:
        RefusedError: these bytes are no image, or a truncated one.
    """
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            width, height = image.size
            _decode_cheaply(image)
            return width, height
    except Exception as error:  # decoders raise whatever they like on malformed input
        raise _refusal(error) from error


def plain_image(encoded: bytes) -> bytes:
    """The same image, upright and such that OpenCV reads it as PIL does; most images are returned as they are.

    Raises:
        RefusedError: these bytes are no image, or a truncated one.
    """
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            turn = _TURNS.get(_orientation(image))
            if turn is None and (image.format, image.mode) in _READ_ALIKE:
                _decode_cheaply(image)
                return encoded
            flat = _to_rgb(image)
            upright = flat if turn is None else flat.transpose(turn)
            buffer = io.BytesIO()
            upright.save(buffer, "BMP")  # lossless, and quick both ways
            return buffer.getvalue()
    except Exception as error:  # as above
        raise _refusal(error) from error


def _decode_cheaply(image: Image.Image) -> None:
    """Decode to the end, a JPEG at an eighth of its size: that finds a truncation as well in a quarter of the time."""
    image.draft(None, (max(1, image.width // 8), max(1, image.height // 8)))
    image.load()


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001, a broken EXIF block makes no broken image
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    """8 bits a sample, three channels, transparent parts on white."""
    if image.mode.startswith("I;16"):
        samples = np.asarray(image)
        return Image.fromarray((samples // 257).astype(np.uint8)).convert("RGB")
    if "A" not in image.getbands() and "transparency" not in image.info:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _refusal(error: Exception) -> RefusedError:
    if isinstance(error, UnidentifiedImageError):  # its words hold a memory address and nothing else
        return RefusedError("not_an_image", "no known image format")
    return RefusedError("not_an_image", str(error) or type(error).__name__)
