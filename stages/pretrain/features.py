"""Features of the frozen tower: computed anew for every batch, or once and kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from PIL import Image
from torch import Tensor

from stages.models.vision.tower import View, VisionTower
from stages.pictures import PictureError, decode
from stages.training.augment import augmented
from stages.training.broken import Broken, Turn
from stages.training.corpus import Corpus, Example
from stages.training.order import Draw

Prepare = Callable[[Example, Image.Image, int], Tensor]
"""(example, RGB image, epoch) to pixels."""
CHUNK = 64
"""Images that are encoded at once when many are."""


class Encoder:
    """Reads, prepares and encodes images."""

    def __init__(self, tower: VisionTower, view: View, device: torch.device, readers: int) -> None:
        self.view = view
        self.broken = Broken()
        """What could not be read so far."""
        self.device = device
        self._tower = tower
        sample = tower(torch.zeros(1, 3, *view.size, device=device))
        self.width = int(sample.shape[-1])
        self.feature_bytes = sample.numel() * sample.itemsize
        """What the features of one image take."""
        self._pool = ThreadPoolExecutor(readers, thread_name_prefix="read")

    def read(self, turns: Sequence[tuple[Example, int]], prepare: Prepare) -> Tensor | None:
        """Pixels of examples at their epochs, (images, 3, height, width), float32, on the CPU.

        None if one of them cannot be decoded, which the download stage rules out for pictures that did not change
        since; `broken` then knows which.
        """
        found = list(self._pool.map(lambda turn: self._open(turn[0], turn[1], prepare), turns))
        whole = [one for one in found if one is not None]
        if len(whole) < len(found):
            return None
        pixels = torch.stack(whole)
        return pixels.pin_memory() if self.device.type == "cuda" else pixels

    def encode(self, pixels: Tensor) -> Tensor:
        """Features, (images, tokens, width), in the tower's number format, on the device."""
        found: Tensor = self._tower(pixels.to(self.device, non_blocking=True))
        return found

    def encode_all(self, examples: Sequence[Example]) -> tuple[Tensor, list[Example]]:
        """Features of whole images, in chunks, on the CPU, where there is room for many; and the images that have any.

        Those that cannot be decoded are left out.
        """
        found, encoded, prepare = [], [], as_evaluated(self.view)
        for first in range(0, len(examples), CHUNK):
            while chunk := [one for one in examples[first : first + CHUNK] if one not in self.broken]:
                pixels = self.read([(one, 0) for one in chunk], prepare)
                if pixels is not None:
                    found.append(self.encode(pixels).cpu())
                    encoded += chunk
                    break
        return torch.cat(found) if found else torch.empty(0), encoded

    def _open(self, example: Example, epoch: int, prepare: Prepare) -> Tensor | None:
        try:
            image = decode(example.member.read())
        except PictureError as error:
            self.broken.add(example, error)
            return None
        return prepare(example, image, epoch)


class KeptFeatures:
    """Features of training images, encoded shard by shard when first asked for, and kept on the CPU."""

    def __init__(self, encoder: Encoder, corpus: Corpus) -> None:
        self._encoder = encoder
        self._corpus = corpus
        self._by_shard: dict[int, dict[str, Tensor]] = {}

    def turns(self, drawn: Sequence[Draw]) -> list[Turn]:
        """The images that were drawn, or those that stand in for them; after it, `of` has the features of all."""
        while True:
            turns = [self._encoder.broken.turn(self._corpus, draw) for draw in drawn]
            if not (new := {turn.shard for turn in turns} - self._by_shard.keys()):
                return turns
            for shard in new:
                features, examples = self._encoder.encode_all(self._corpus.training(shard))
                self._by_shard[shard] = {one.key: row for one, row in zip(examples, features, strict=True)}

    def of(self, turns: Sequence[Turn]) -> Tensor:
        """(images, tokens, width), in the tower's number format, on the device."""
        rows = [self._by_shard[turn.shard][turn.example.key] for turn in turns]
        return torch.stack(rows).to(self._encoder.device)


def as_evaluated(view: View) -> Prepare:
    """The image as a whole, the same in every epoch."""
    return lambda _example, image, _epoch: view.preprocess(image)


def as_augmented(view: View, seed: int) -> Prepare:
    """Another crop in every epoch."""
    return lambda example, image, epoch: augmented(image, view, seed, epoch, example.key)
