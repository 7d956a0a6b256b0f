"""One decoder for stored pictures."""

from __future__ import annotations

import io

from PIL import Image, UnidentifiedImageError


class PictureError(ValueError):
    """These bytes are no picture that can be decoded; the message says why."""


def decode(encoded: bytes) -> Image.Image:
    """An encoded picture as RGB, decoded wholly.

    Raises:
        PictureError: it cannot be decoded.
    """
    try:
        return Image.open(io.BytesIO(encoded)).convert("RGB")
    except UnidentifiedImageError as error:  # its words hold a memory address and nothing else
        raise PictureError("no format that is known") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # what Pillow's decoders raise
        raise PictureError(str(error)) from error
