"""From the bytes as they came to the image that is stored: img2dataset's resizer behind PIL's judgement."""

from __future__ import annotations

import io
from contextlib import nullcontext
from dataclasses import replace
from threading import Lock
from typing import IO, Final, TypeAlias

from stages.download.checksums import checksums
from stages.download.decode import Picture
from stages.download.library import Resizer
from stages.download.rows import Outcome
from stages.download.spec import DownloadRecipe
from stages.download.statuses import RefusedError, parse

Resized: TypeAlias = tuple[bytes | None, int | None, int | None, int | None, int | None, str | None]
"""img2dataset's answer: image, width, height, original width, original height (pixels), error."""

_LONGEST: Final = {"jpg": 65_500, "webp": 16_383, "png": 1_000_000}
"""Pixels of the longest side that OpenCV can write in a format."""
_LONGEST_READ: Final = 2**20
"""Pixels of the longest side that OpenCV reads at all."""


class Fit:
    """Checks, turns upright, scales down and encodes images. Safe to call from several threads."""

    def __init__(self, recipe: DownloadRecipe) -> None:
        self._recipe = recipe
        self._resizer = Resizer(
            image_size=recipe.image_size,
            resize_mode="keep_ratio",
            resize_only_if_bigger=True,
            encode_quality=recipe.encode_quality,
            encode_format=recipe.encode_format,
            skip_reencode=True,
        )
        self._one_large = Lock()

    def __call__(self, stream: IO[bytes], _boxes: object = None) -> Resized:
        """What img2dataset calls where it would call its own resizer."""
        try:
            return self._fitted(stream.read())
        except RefusedError as refusal:
            return None, None, None, None, None, str(refusal)

    def _fitted(self, encoded: bytes) -> Resized:
        picture = Picture(encoded, self._recipe.max_pixels)
        self._check_size(picture)
        with self._one_large if picture.is_large else nullcontext():
            image, width, height, _, _, error = self._resizer(io.BytesIO(picture.plain(self._recipe.image_size)))
        return image, width, height, *picture.size, error

    def _check_size(self, picture: Picture) -> None:
        """Refuse by the header what is not wanted or could not be stored.

        Raises:
            RefusedError: the shorter side has too few pixels, or the longer side too many for it or for the format.
        """
        recipe = self._recipe
        shorter, longer = sorted(picture.size)
        if shorter < recipe.min_image_size:
            raise RefusedError("too_small", f"{shorter} x {longer} pixels")
        if recipe.max_aspect_ratio is not None and longer > recipe.max_aspect_ratio * shorter:
            raise RefusedError("bad_aspect", f"{shorter} x {longer} pixels")
        stored = longer * min(1, self._recipe.image_size / shorter)
        if stored > _LONGEST[self._recipe.encode_format] or longer > _LONGEST_READ:
            words = f"{shorter} x {longer} pixels are too long to be stored as {self._recipe.encode_format}"
            raise RefusedError("bad_aspect", words)

    def image(self, encoded: bytes) -> tuple[Outcome, bytes | None]:
        """What becomes of an image at hand, and the bytes to store, None if it is refused."""
        image, width, height, original_width, original_height, error = self(io.BytesIO(encoded))
        if error is not None:
            return Outcome(*parse(error)), None
        sizes = (width, height, original_width, original_height)
        return replace(Outcome("success", None, *sizes), **checksums([encoded])), image
