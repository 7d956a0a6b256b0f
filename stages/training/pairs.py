"""Image-text pairs for a BLIP that is trained, part after part."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeVar

import torch
from torch import Tensor

from stages.training.corpus import Corpus
from stages.training.feed import Drawn, Feed
from stages.training.order import mix
from stages.training.pictures import Pictures
from stages.training.place import Stretch
from stages.training.settings import TrainingRecipe

Prepared = TypeVar("Prepared")
Batch = TypeVar("Batch")


class Pairs:
    """Parts of steps, and the images of each."""

    def __init__(self, pictures: Pictures, corpus: Corpus, recipe: TrainingRecipe) -> None:
        self.feed = Feed(corpus, recipe, pictures.reader, pictures.prepare, pictures.kept)
        self._pictures = pictures

    def images(self, drawn: Drawn) -> Tensor:
        """Pixels, or features of a frozen tower, on the device."""
        return self._pictures.of(drawn)

    def batches(
        self, stretch: Stretch, complete: Callable[[Drawn], Prepared], finish: Callable[[Prepared], Batch]
    ) -> Generator[Batch]:
        """A worker's batches.

        Args:
            stretch: which.
            complete: what is done with the images of a part in the background.
            finish: what is done then, while the model waits.
        """
        prepared = self.feed.parts(stretch, complete)
        try:
            yield from map(finish, prepared)
        finally:
            prepared.close()


def negatives(seed: int, drawn: Drawn) -> Tensor:
    """What a part's wrong partners are drawn by: (2, images), float64, in [0, 1)."""
    part = drawn.part
    generator = torch.Generator().manual_seed(mix("wrong", seed, part.number))
    uniforms = torch.rand(2, part.size, generator=generator, dtype=torch.float64)
    return uniforms[:, part.first : part.first + part.images]
