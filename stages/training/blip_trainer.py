"""What the computes of all trainings of a BLIP do alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pyarrow as pa

from stages.models.blip.trainable.vision import VisionTransformer
from stages.training.augment import Augmentation
from stages.training.blip_settings import BlipRun
from stages.training.corpus import Corpus, check_corpus
from stages.training.history import as_table
from stages.training.pictures import Pictures, frozen_pictures, pictures
from stages.training.place import Place
from stages.training.task import Row
from stages.training.trainer import SomeTask, Trainer, check_parts
from stages.training.view import blip_view


class BlipTrainer(Trainer[SomeTask]):
    """Trains a BLIP."""

    augmentations: ClassVar[Mapping[str, Augmentation]]
    """By the recipe's `augment`; another value is none."""
    recipe: Any
    run: BlipRun

    def check(self, corpus: Corpus, place: Place) -> None:
        """See that there is enough to learn from, and that it can be divided.

        Raises:
            UserError: there is not, or it cannot.
        """
        check_parts(self.key, self.recipe, place)
        check_corpus(self.key, corpus, self.recipe)

    def pictures(self, tower: VisionTransformer, image_size: int, corpus: Corpus, place: Place) -> Pictures:
        """What the tower is given: pixels, or its features where it is frozen."""
        recipe, view, readers = self.recipe, blip_view(image_size), self.run.readers
        if recipe.freeze_vision:
            return frozen_pictures(view, tower, corpus, self.run.cache, readers, place.device)
        return pictures(view, self.augmentations.get(recipe.augment), recipe.seed, readers, place.device)

    def make_table(self, rows: list[Row]) -> pa.Table:
        """A row per number."""
        return as_table(rows)
