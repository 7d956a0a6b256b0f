"""Perceptual hashes of a shard's images: pictures that look alike differ in few of 64 bits."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

import imagehash
import pyarrow as pa
from PIL import Image

from stages.contract import Output, Shard
from stages.hash.spec import HashRecipe, HashRun
from stages.shards import read_images
from stages.tables import HASHES

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

        Raises:
            ValueError: an image cannot be decoded, which the download stage rules out.
        """
        keys, hashes = [], []
        for key, found in self._hashes(read_images(shard.inputs["download"])):
            keys.append(key)
            hashes.append(found)
        table = pa.table([pa.array(keys, pa.string()), pa.array(hashes, pa.uint64())], schema=HASHES)
        return Output(table, counts={"images": len(keys)})

    def _hashes(self, images: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, int]]:
        """(key, hash) of every image, in order, a few of them at once."""
        waiting: deque[tuple[str, Future[int]]] = deque()
        with ThreadPoolExecutor(self._threads, thread_name_prefix="hash") as pool:
            for key, encoded in images:
                waiting.append((key, pool.submit(self._hash, key, encoded)))
                if len(waiting) > self._threads * _WAITING:
                    yield waiting[0][0], waiting.popleft()[1].result()
            for key, future in waiting:
                yield key, future.result()

    def _hash(self, key: str, encoded: bytes) -> int:
        try:
            image = Image.open(io.BytesIO(encoded)).convert("RGB")
        except (
            OSError,
            ValueError,
            SyntaxError,
            Image.DecompressionBombError,
        ) as error:  # what Pillow's decoders raise
            raise ValueError(f"image {key} is listed as downloaded but cannot be decoded: {error}") from error
        return int(str(self._method(image)), 16)
