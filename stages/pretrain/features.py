"""Features of the frozen tower: computed anew for every batch, or once and kept."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from PIL import Image
from torch import Tensor

from stages.models.vision_tower import View, VisionTower
from stages.pretrain.augment import augmented
from stages.pretrain.corpus import Example
from stages.pretrain.order import Draw

Prepare = Callable[[Example, Image.Image, int], Tensor]
"""(example, RGB image, epoch) to pixels."""
CHUNK = 64
"""Images that are encoded at once when all are."""


class Encoder:
    """Reads, prepares and encodes images."""

    def __init__(self, tower: VisionTower, view: View, device: torch.device, readers: int) -> None:
        self.view = view
        self._tower = tower
        self._device = device
        sample = tower(torch.zeros(1, 3, *view.size, device=device))
        self.width = int(sample.shape[-1])
        self.feature_bytes = sample.numel() * sample.itemsize
        """What the features of one image take."""
        self._pool = ThreadPoolExecutor(readers, thread_name_prefix="read")

    def encode(self, turns: Sequence[tuple[Example, int]], prepare: Prepare) -> Tensor:
        """Features of examples at their epochs, (images, tokens, width), on the device.

        Raises:
            ValueError: an image cannot be decoded, which the download stage rules out.
        """
        pixels = self._pool.map(lambda turn: _open(turn[0], turn[1], prepare), turns)
        return self._tower(torch.stack(list(pixels)).to(self._device))  # type: ignore[no-any-return]

    def encode_all(self, examples: Sequence[Example], prepare: Prepare) -> Iterator[Tensor]:
        """The same for many, in chunks, as in epoch 0."""
        for first in range(0, len(examples), CHUNK):
            yield self.encode([(example, 0) for example in examples[first : first + CHUNK]], prepare)


class Features:
    """Features of the training images, by their numbers."""

    def __init__(self, encoder: Encoder, examples: Sequence[Example], prepare: Prepare, *, keep: bool) -> None:
        self._encoder = encoder
        self._examples = examples
        self._prepare = prepare
        self._kept = torch.cat(list(encoder.encode_all(examples, prepare))) if keep else None

    def of(self, drawn: Sequence[Draw]) -> Tensor:
        """(images, tokens, width), in the tower's number format, on the device."""
        if self._kept is not None:
            return self._kept[[draw.image for draw in drawn]]
        return self._encoder.encode([(self._examples[draw.image], draw.epoch) for draw in drawn], self._prepare)


def as_evaluated(view: View) -> Prepare:
    """The image as a whole, the same in every epoch."""
    return lambda _example, image, _epoch: view.preprocess(image)


def as_augmented(view: View, seed: int) -> Prepare:
    """Another crop in every epoch."""
    return lambda example, image, epoch: augmented(image, view, seed, epoch, example.key)


def _open(example: Example, epoch: int, prepare: Prepare) -> Tensor:
    try:
        image = Image.open(io.BytesIO(example.member.read())).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # what Pillow's decoders raise
        raise ValueError(f"image {example.key} is listed as downloaded but cannot be decoded: {error}") from error
    return prepare(example, image, epoch)
