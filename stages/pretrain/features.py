"""Features of the frozen tower: computed anew for every batch, or once and kept."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from PIL import Image
from torch import Tensor

from stages.models.vision_tower import View, VisionTower
from stages.pretrain.augment import augmented
from stages.pretrain.corpus import Corpus, Example
from stages.pretrain.order import Draw

Prepare = Callable[[Example, Image.Image, int], Tensor]
"""(example, RGB image, epoch) to pixels."""
CHUNK = 64
"""Images that are encoded at once when many are."""


class Encoder:
    """Reads, prepares and encodes images."""

    def __init__(self, tower: VisionTower, view: View, device: torch.device, readers: int) -> None:
        self.view = view
        self.device = device
        self._tower = tower
        sample = tower(torch.zeros(1, 3, *view.size, device=device))
        self.width = int(sample.shape[-1])
        self.feature_bytes = sample.numel() * sample.itemsize
        """What the features of one image take."""
        self._pool = ThreadPoolExecutor(readers, thread_name_prefix="read")

    def read(self, turns: Sequence[tuple[Example, int]], prepare: Prepare) -> Tensor:
        """Pixels of examples at their epochs, (images, 3, height, width), float32, on the CPU.

        Raises:
            ValueError: an image cannot be decoded, which the download stage rules out.
        """
        pixels = torch.stack(list(self._pool.map(lambda turn: _open(turn[0], turn[1], prepare), turns)))
        return pixels.pin_memory() if self.device.type == "cuda" else pixels

    def encode(self, pixels: Tensor) -> Tensor:
        """Features, (images, tokens, width), in the tower's number format, on the device."""
        found: Tensor = self._tower(pixels.to(self.device, non_blocking=True))
        return found

    def encode_all(self, examples: Sequence[Example]) -> Tensor:
        """Features of whole images, in chunks; on the CPU, where there is room for many."""
        chunks = (examples[first : first + CHUNK] for first in range(0, len(examples), CHUNK))
        prepare = as_evaluated(self.view)
        return torch.cat([self.encode(self.read([(one, 0) for one in chunk], prepare)).cpu() for chunk in chunks])


class KeptFeatures:
    """Features of training images, encoded shard by shard when first asked for, and kept on the CPU."""

    def __init__(self, encoder: Encoder, corpus: Corpus) -> None:
        self._encoder = encoder
        self._corpus = corpus
        self._by_shard: dict[int, Tensor] = {}

    def of(self, drawn: Sequence[Draw]) -> Tensor:
        """(images, tokens, width), in the tower's number format, on the device."""
        return torch.stack([self._of_shard(draw.shard)[draw.image] for draw in drawn]).to(self._encoder.device)

    def _of_shard(self, shard: int) -> Tensor:
        if shard not in self._by_shard:
            self._by_shard[shard] = self._encoder.encode_all(self._corpus.training(shard))
        return self._by_shard[shard]


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
