"""What a training is given, part after part: images in their order, read in the background while the model works."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import NamedTuple, TypeVar

from torch import Tensor

from stages.io.prefetch import in_background
from stages.training.broken import Turn
from stages.training.corpus import Corpus
from stages.training.examples import Example
from stages.training.features import KeptFeatures
from stages.training.order import Mixture, mix
from stages.training.place import Part, Stretch
from stages.training.reading import Prepare, Reader
from stages.training.settings import TrainingRecipe

AHEAD = 16
"""Parts after which the images' shards should have been looked up."""
DEPTH = 2
"""Parts that are prepared in advance."""

Complete = TypeVar("Complete")


class Drawn(NamedTuple):
    """The images of a part."""

    part: Part
    turns: list[Turn]
    pixels: Tensor | None
    """(images, 3, height, width), on the CPU; None where features are kept."""


class Feed:
    """The corpus as parts of steps."""

    def __init__(
        self,
        corpus: Corpus,
        recipe: TrainingRecipe,
        reader: Reader,
        prepare: Prepare,
        kept: KeptFeatures | None = None,
    ) -> None:
        """Put an order on a corpus.

        Args:
            corpus: the images.
            recipe: the batch, the mixture, the slices and the seed.
            reader: what reads images.
            prepare: an image to pixels.
            kept: features that take the place of pixels.
        """
        self._corpus = corpus
        self._recipe = recipe
        self._reader = reader
        self._prepare = prepare
        self._kept = kept
        self.mixture = Mixture(corpus.lines(recipe.seed, recipe.slices), recipe.mixture)

    @property
    def epoch_steps(self) -> int:
        """Whole steps in an epoch of all sources."""
        return max(1, self.mixture.epoch_images // self._recipe.batch_size)

    def parts(self, stretch: Stretch, complete: Callable[[Drawn], Complete]) -> Generator[Complete]:
        """A worker's parts, `accumulate` for every step.

        Args:
            stretch: of which steps.
            complete: what else is to be done with a part in the background.
        """

        def prepared() -> Generator[Complete]:
            recipe = self._recipe
            size = recipe.batch_size // recipe.accumulate
            for number in range((stretch.first - 1) * recipe.accumulate, stretch.last * recipe.accumulate):
                yield complete(self._draw(Part(number, stretch.rank, stretch.workers, size)))

        return in_background(prepared(), depth=DEPTH)

    def _draw(self, part: Part) -> Drawn:
        ahead = AHEAD * part.size
        self._corpus.expect({self.mixture.at(position + ahead).shard for position in part.positions})
        drawn = [self.mixture.at(position) for position in part.positions]
        if self._kept:
            return Drawn(part, self._kept.turns(drawn), None)
        return Drawn(part, *self._reader.drawn(self._corpus, drawn, self._prepare))

    def caption(self, example: Example, epoch: int) -> str:
        """One of an image's captions, another draw in every epoch."""
        return example.captions[mix("caption", self._recipe.seed, epoch, example.key) % len(example.captions)]
