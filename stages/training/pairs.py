"""Image-text pairs for a BLIP that is trained: pixels or kept features, and tokens without padding."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from stages.models.blip.trainable.texts import Texts
from stages.training.corpus import Corpus
from stages.training.feed import Drawn, Feed
from stages.training.order import mix
from stages.training.pictures import Pictures
from stages.training.place import Stretch
from stages.training.settings import TrainingRecipe

Prepared = TypeVar("Prepared")
Batch = TypeVar("Batch")


class Tokens(Protocol):
    """Captions to tokens."""

    def __call__(self, captions: Sequence[str]) -> Texts:
        """[CLS], what is said, [SEP]."""
        ...


class Pairs:
    """Parts of steps, each with its images and texts."""

    def __init__(self, pictures: Pictures, corpus: Corpus, recipe: TrainingRecipe, tokens: Tokens) -> None:
        self.feed = Feed(corpus, recipe, pictures.reader, pictures.prepare, pictures.kept)
        self._pictures = pictures
        self._tokens = tokens

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

    def texts(self, drawn: Drawn) -> Texts:
        """Of each image one, on the CPU."""
        return self._tokens([self.feed.caption(turn.example, turn.epoch) for turn in drawn.turns])


def negatives(seed: int, drawn: Drawn) -> Tensor:
    """What a part's wrong partners are drawn by: (2, images), float64, in [0, 1)."""
    part = drawn.part
    generator = torch.Generator().manual_seed(mix("wrong", seed, part.number))
    uniforms = torch.rand(2, part.size, generator=generator, dtype=torch.float64)
    return uniforms[:, part.first : part.first + part.images]
