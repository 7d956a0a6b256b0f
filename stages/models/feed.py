"""Images of a shard as preprocessed batches, made ready in the background while the model works on the one before."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from PIL import Image
from torch import Tensor

from stages.models.background import in_background
from stages.pictures import PictureError, decode
from stages.shards import Artifact, read_images

Preprocess = Callable[[Image.Image], Tensor]
"""An RGB image to a model's input, (3, height, width), float32."""


def batches(
    images: Artifact, preprocess: Preprocess, batch_size: int, without: Collection[str] = ()
) -> Iterator[tuple[list[str], Tensor]]:
    """Yield (keys, pixels) of every downloaded image of a shard, but for some keys, in the tar's order.

    Pixels are (images, 3, height, width), float32, on the CPU. At most three batches are in memory, whatever the
    shard's size: one in use, one waiting, and one being made.

    Raises:
        ValueError: an image cannot be decoded, which the download stage rules out.
    """
    return in_background(_make_batches(read_images(images, without), preprocess, batch_size), depth=1)


def _make_batches(
    images: Iterable[tuple[str, bytes]], preprocess: Preprocess, batch_size: int
) -> Iterator[tuple[list[str], Tensor]]:
    pending: dict[str, Future[Tensor]] = {}
    with ThreadPoolExecutor(torch.get_num_threads(), thread_name_prefix="decode") as pool:
        for key, encoded in images:
            pending[key] = pool.submit(_prepare, key, encoded, preprocess)
            if len(pending) == batch_size:
                yield _collect(pending)
                pending = {}
        if pending:
            yield _collect(pending)


def _prepare(key: str, encoded: bytes, preprocess: Preprocess) -> Tensor:
    try:
        image = decode(encoded)
    except PictureError as error:
        raise ValueError(f"image {key} is listed as downloaded but cannot be decoded: {error}") from error
    return preprocess(image)


def _collect(pending: dict[str, Future[Tensor]]) -> tuple[list[str], Tensor]:
    return list(pending), torch.stack([future.result() for future in pending.values()])
