"""Images of a shard as preprocessed batches, made ready in the background while the model works on the one before."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from stages.io.prefetch import in_background
from stages.io.shards import Artifact, MissingImagesError, read_images
from stages.pictures import PictureError, decode
from stages.words import one_line

Preprocess = Callable[[Image.Image], Tensor]
"""An RGB image to a model's input, (3, height, width), float32."""


@dataclass(frozen=True)
class PixelBatch:
    """Some of a shard's images."""

    keys: list[str]
    """Of the images that a model can look at; there may be none."""
    pixels: Tensor
    """(images, 3, height, width), float32, on the CPU, in the order of the keys."""
    broken: dict[str, str]
    """The others by key, with the reason: what it is, a colon, and the details."""


def batches(
    images: Artifact, preprocess: Preprocess, batch_size: int, without: Collection[str] = ()
) -> Iterator[PixelBatch]:
    """Yield every downloaded image of a shard once, but for some keys, in the tar's order.

    An image that cannot be looked at (its bytes are damaged, or the tar has it no longer) costs itself alone. At most
    three batches are in memory, whatever the shard's size: one in use, one waiting, and one being made.

    Raises:
        OSError: the shard's tar cannot be read at all.
    """
    return in_background(_make_batches(read_images(images, without), preprocess, batch_size), depth=1)


def _make_batches(images: Iterable[tuple[str, bytes]], preprocess: Preprocess, batch_size: int) -> Iterator[PixelBatch]:
    pending: dict[str, Future[Tensor | str]] = {}
    missing: dict[str, str] = {}
    with ThreadPoolExecutor(torch.get_num_threads(), thread_name_prefix="decode") as pool:
        try:
            for key, encoded in images:
                pending[key] = pool.submit(_prepare, encoded, preprocess)
                if len(pending) == batch_size:
                    yield _collect(pending)
                    pending = {}
        except MissingImagesError as error:
            missing = dict.fromkeys(error.keys, f"not in its tar: {error.tar}")
        if pending or missing:
            yield _collect(pending, missing)


def _prepare(encoded: bytes, preprocess: Preprocess) -> Tensor | str:
    """The pixels, or why there are none."""
    try:
        image = decode(encoded)
    except PictureError as error:
        return f"cannot be decoded: {one_line(error)}"
    try:
        return preprocess(image)
    except Exception as error:  # noqa: BLE001 - nothing is swallowed: it is told of the image, and the model was tried
        return f"cannot be preprocessed: {type(error).__name__}: {one_line(error)}"


def _collect(pending: dict[str, Future[Tensor | str]], missing: dict[str, str] | None = None) -> PixelBatch:
    found = {key: future.result() for key, future in pending.items()}
    pixels = {key: value for key, value in found.items() if isinstance(value, Tensor)}
    broken = {key: value for key, value in found.items() if isinstance(value, str)}
    stacked = torch.stack(list(pixels.values())) if pixels else torch.empty(0)
    return PixelBatch(list(pixels), stacked, {**broken, **(missing or {})})
