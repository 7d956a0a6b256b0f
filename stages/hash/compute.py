"""Perceptual hashes of a shard's images: pictures that look alike differ in few of 64 bits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import imagehash
import pyarrow as pa
from PIL import Image

from stages.contract import Output, Shard
from stages.hash.spec import HashRecipe, HashRun
from stages.io.shards import read_present
from stages.io.side_by_side import side_by_side
from stages.pictures import PictureError, decode
from stages.tables import HASHES

logger = logging.getLogger(__name__)

_METHODS: Final[dict[str, Callable[[Image.Image], Any]]] = {"phash": imagehash.phash, "dhash": imagehash.dhash}
_WAITING: Final = 4
"""Encoded images that wait for each thread, so that memory does not grow with the shard."""


class Hash:
    """The hash stage's compute."""

    def __init__(self, recipe: HashRecipe, run: HashRun) -> None:
        self._method = _METHODS[recipe.method]
        self._threads = run.threads

    def __call__(self, shard: Shard) -> Output:
        """Hash one shard; the table is `tables.HASHES`, in the tar's order.

        An image that cannot be decoded, or is no longer in its tar, has no row and no looks.
        """
        missing: set[str] = set()
        images = dict(self._hashes(read_present(shard.one("images"), missing)))
        found = {key: bits for key, bits in images.items() if bits is not None}
        table = pa.table([pa.array(found.keys(), pa.string()), pa.array(found.values(), pa.uint64())], schema=HASHES)
        lost = len(images) - len(found) + len(missing)
        return Output(table, counts={"images": len(found), **({"not_an_image": lost} if lost else {})})

    def _hashes(self, images: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, int | None]]:
        """(key, hash) of every image, in order, a few of them at once."""
        at_once = self._threads * _WAITING
        found = side_by_side(
            self._hash, images, threads=self._threads, at_once=at_once, size=lambda image: len(image[1])
        )
        for (key, _), bits in found:
            yield key, bits

    def _hash(self, image: tuple[str, bytes]) -> int | None:
        """The image's hash, None if it has none."""
        key, encoded = image
        try:
            return int(str(self._method(decode(encoded))), 16)
        except PictureError as error:
            logger.warning("image %s is listed as downloaded but cannot be decoded: %s", key, error)
            return None
