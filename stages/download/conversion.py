"""One picture's way to what is stored: judged, decoded, scaled down, encoded."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import cv2
import numpy as np
from PIL import Image

from stages.download.messages import Answer, Sizes, Wanted
from stages.pictures import Picture, PictureError, TooLargeError

_LONGEST: Final = {"jpg": 65_500, "webp": 16_383, "png": 1_000_000}
"""Pixels of the longest side that OpenCV can write in a format."""
_QUALITY: Final = {
    "jpg": cv2.IMWRITE_JPEG_QUALITY,
    "webp": cv2.IMWRITE_WEBP_QUALITY,
    "png": cv2.IMWRITE_PNG_COMPRESSION,
}
_AS_IT_CAME: Final = {"jpg": {("JPEG", "RGB"), ("JPEG", "L")}, "webp": {("WEBP", "RGB")}, "png": set[Any]()}
"""Formats and modes that a picture may have come in to be stored as it came, by the wanted format."""

cv2.setNumThreads(1)
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


class NotWantedError(Exception):
    """A picture of a size that is not wanted, or cannot be stored: the status, and the reason in words."""

    def __init__(self, status: str, words: str) -> None:
        super().__init__(words)
        self.status = status


def convert(encoded: bytes, wanted: Wanted, before_large: Callable[[], None]) -> Answer:
    """Make what is stored of a picture, or say why nothing is.

    Args:
        encoded: its bytes, as they came.
        wanted: what is stored.
        before_large: called before one is decoded that should be the only one at a time.
    """
    return _judged(partial(_convert, encoded, wanted, before_large))


def look(encoded: bytes, wanted: Wanted, before_large: Callable[[], None]) -> Answer:
    """Decode a picture that stays as it is, just as every later stage will, or say why that cannot be."""
    return _judged(partial(_look, encoded, wanted, before_large))


def _judged(make: Callable[[], Answer]) -> Answer:
    try:
        return make()
    except TooLargeError as error:
        return Answer("too_large", str(error))
    except PictureError as error:
        return Answer("not_an_image", str(error))
    except NotWantedError as error:
        return Answer(error.status, str(error))


def _convert(encoded: bytes, wanted: Wanted, before_large: Callable[[], None]) -> Answer:
    picture = Picture(encoded, max_pixels=wanted.max_pixels, shorter=wanted.image_size)
    _check_size(*picture.size, wanted)
    if picture.is_large:
        before_large()
    image = picture.decode()
    width, height = _stored_size(*picture.size, wanted.image_size)
    if (width, height) == picture.size and picture.kind in _AS_IT_CAME[wanted.encode_format] and not picture.is_changed:
        return Answer("success", None, Sizes(*picture.size, *picture.size))
    content = _encode(image, (width, height), wanted)
    return Answer("success", None, Sizes(width, height, *picture.size), content)


def _look(encoded: bytes, wanted: Wanted, before_large: Callable[[], None]) -> Answer:
    picture = Picture(encoded, max_pixels=wanted.max_pixels)
    if picture.is_large:
        before_large()
    picture.decode()
    return Answer("success", None, Sizes(*picture.size, *picture.size))


def _check_size(width: int, height: int, wanted: Wanted) -> None:
    """Refuse by the header what is not wanted or could not be stored."""
    shorter, longer = sorted((width, height))
    if shorter < wanted.min_image_size:
        raise NotWantedError("too_small", f"{shorter} x {longer} pixels")
    if wanted.max_aspect_ratio is not None and longer > wanted.max_aspect_ratio * shorter:
        raise NotWantedError("bad_aspect", f"{shorter} x {longer} pixels")
    if longer * min(1, wanted.image_size / shorter) > _LONGEST[wanted.encode_format]:
        words = f"{shorter} x {longer} pixels are too long to be stored as {wanted.encode_format}"
        raise NotWantedError("bad_aspect", words)


def _stored_size(width: int, height: int, shorter: int) -> tuple[int, int]:
    if min(width, height) <= shorter:
        return width, height
    scale = shorter / min(width, height)
    return round(width * scale), round(height * scale)


def _encode(image: Image.Image, size: tuple[int, int], wanted: Wanted) -> bytes:
    pixels: Any = np.asarray(image)
    if size != image.size:
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    quality = [_QUALITY[wanted.encode_format], wanted.encode_quality]
    done, content = cv2.imencode(f".{wanted.encode_format}", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), quality)
    if not done:  # what it cannot write it says by an exception; this is for the day when it does not
        raise RuntimeError("OpenCV has encoded nothing")
    return content.tobytes()
