"""What decoding takes, in bytes, told from a picture's header; measured with Pillow's own decoders."""

from __future__ import annotations

from typing import Any, Final

from PIL import Image

WEBP: Final = 17
"""Bytes of a pixel while a WebP is decoded: two canvases, the frame as its decoder gives it, and as Pillow holds it."""
_STORED: Final = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
"""Bytes of a pixel as Pillow holds it; 4 in all other modes."""
_BESIDE: Final = {
    "WEBP": WEBP - 4,
    "AVIF": 12,  # the planes, up to 12 bits a sample, and the frame as its decoder gives it
    "BMP": 2,  # unpacked from its runs
}
"""Bytes of a pixel beside it while it is decoded."""
_CANVASES: Final = {"WEBP": 8}
"""Bytes of a pixel beside it for as long as the file is open."""
_RGB: Final = 4


def estimate(image: Image.Image, *, scans: int, drafted: int, factor: int) -> int:
    """Bytes that it takes to come to an upright RGB picture, at the largest.

    Args:
        image: as it is opened, before `draft`.
        scans: of a JPEG.
        drafted: pixels of the opened picture, along each side, that become one while it is decoded.
        factor: pixels of the opened picture, along each side, that are one in the end.
    """
    kind = image.format or ""
    held, canvases = _STORED.get(image.mode, 4) / drafted**2, _CANVASES.get(kind, 0)
    decoding = held + _BESIDE.get(kind, 0) + (_coefficients(image) if scans > 1 else 0)
    turning = canvases + 2 * held
    converting = canvases + held + _RGB / factor**2
    most = max(decoding, turning, converting)
    return int(image.width * image.height * most) + (_strip(image) if kind == "TIFF" else 0)


def _coefficients(image: Any) -> float:
    """Bytes of a pixel that a JPEG of several scans holds until the last of them: 2 for each of its samples."""
    across, along = ([int(component[place]) for component in image.layer] for place in (1, 2))
    samples = sum(a * b for a, b in zip(across, along, strict=True))
    return 2 * samples / max(1, max(across) * max(along))


def _strip(image: Any) -> int:
    """Bytes of the strip or tile that a TIFF is decoded by; a single one may be the whole picture."""
    if image.info.get("compression") == "raw":
        return 0
    tags = image.tag_v2
    width, rows = tags.get(322, image.width), tags.get(323, tags.get(278, image.height))
    samples = max(32, sum(tags.get(258, (8,)))) // 8
    return int(width * min(rows, image.height + 2**12) * samples)
