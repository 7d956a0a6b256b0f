"""Features of a frozen image tower: computed anew for every batch, or once and kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from stages.models.vision.tower import View
from stages.training.augment import as_evaluated
from stages.training.broken import Turn
from stages.training.corpus import Corpus
from stages.training.examples import Example
from stages.training.order import Draw
from stages.training.reading import Reader

Tower = Callable[[Tensor], Tensor]
"""Pixels, (images, 3, height, width), on the device, to features, (images, tokens, width), without gradients."""
CHUNK = 64
"""Images that are encoded at once when many are."""


class Encoder:
    """Encodes images, and those of its reader."""

    def __init__(self, tower: Tower, view: View, device: torch.device, reader: Reader) -> None:
        self.view = view
        self.reader = reader
        self.device = device
        self._tower = tower
        sample = tower(torch.zeros(1, 3, *view.size, device=device))
        self.width = int(sample.shape[-1])
        self.feature_bytes = sample.numel() * sample.itemsize
        """What the features of one image take."""

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
            while chunk := [one for one in examples[first : first + CHUNK] if one not in self.reader.broken]:
                pixels = self.reader.read([(one, 0) for one in chunk], prepare)
                if pixels is not None:
                    found.append(self.encode(pixels).cpu())
                    encoded += chunk
                    break
        return torch.cat(found) if found else torch.empty(0), encoded


class KeptFeatures:
    """Features of training images, encoded shard by shard when first asked for, and kept on the CPU."""

    def __init__(self, encoder: Encoder, corpus: Corpus) -> None:
        self._encoder = encoder
        self._corpus = corpus
        self._by_shard: dict[int, dict[str, Tensor]] = {}

    def turns(self, drawn: Sequence[Draw]) -> list[Turn]:
        """The images that were drawn, or those that stand in for them; after it, `of` has the features of all."""
        while True:
            turns = [self._encoder.reader.broken.turn(self._corpus, draw) for draw in drawn]
            if not (new := {turn.shard for turn in turns} - self._by_shard.keys()):
                return turns
            for shard in new:
                whole = {example.key: example for example in self._corpus.training(shard)}  # of several pairs one
                features, examples = self._encoder.encode_all(list(whole.values()))
                self._by_shard[shard] = {one.key: row for one, row in zip(examples, features, strict=True)}

    def of(self, turns: Sequence[Turn]) -> Tensor:
        """(images, tokens, width), in the tower's number format, on the device."""
        rows = [self._by_shard[turn.shard][turn.example.key] for turn in turns]
        return torch.stack(rows).to(self._encoder.device)
