"""The med stage's compute: builds a BLIP, or goes on from one, and trains it on image-text pairs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pyarrow as pa

from stages.med.build import Built, build
from stages.med.spec import MedRecipe, MedRun
from stages.med.task import MedTask
from stages.models.blip.folder import write_folder
from stages.models.blip.trainable.published import describe_trained
from stages.training.augment import AREAS, WIDE_AREAS, Augmentation
from stages.training.corpus import Corpus, check_corpus
from stages.training.examples import Choice
from stages.training.gather import all_or_none
from stages.training.history import as_table
from stages.training.holdout import hold_out
from stages.training.pairs import Pairs
from stages.training.pictures import Pictures, frozen_pictures, pictures
from stages.training.place import Place
from stages.training.task import Row
from stages.training.told import tell_drawn
from stages.training.trainer import Trainer, check_parts
from stages.training.view import blip_view

AUGMENTATIONS: Final[Mapping[str, Augmentation]] = {
    "blip": Augmentation(WIDE_AREAS, randaugment=True),
    "crop": Augmentation(AREAS),
}


class Med(Trainer[MedTask]):
    """Pretrains BLIP."""

    key = "med"
    recipe: MedRecipe
    run: MedRun

    @property
    def choice(self) -> Choice:
        """Every caption of every image."""
        return Choice(self.recipe.holdout, self.recipe.max_words, by_caption=True)

    def make_task(self, corpus: Corpus, place: Place) -> MedTask:
        """Build; what one worker refuses, all do."""
        recipe = self.recipe
        all_or_none(lambda: self._check(corpus, place))
        built = all_or_none(lambda: build(recipe, self.run))
        tell_drawn(self.key, built.drawn)
        shown = self._pictures(built, corpus, place)
        pairs = Pairs(shown, corpus, recipe)
        held_out = hold_out(self.key, corpus, shown, built.tokens) if place.rank == 0 else None
        return MedTask(recipe, built, pairs, held_out, place.device)

    def _pictures(self, built: Built, corpus: Corpus, place: Place) -> Pictures:
        recipe, view, readers = self.recipe, blip_view(self.recipe.image_size), self.run.readers
        if recipe.freeze_vision:
            tower = built.model.visual_encoder
            return frozen_pictures(view, tower, corpus, self.run.cache, readers, place.device)
        return pictures(view, AUGMENTATIONS.get(recipe.augment), recipe.seed, readers, place.device)

    def _check(self, corpus: Corpus, place: Place) -> None:
        check_parts(self.key, self.recipe, place)
        check_corpus(self.key, corpus, self.recipe)

    def write_model(self, task: MedTask, folder: Path) -> None:
        """A folder that serves as captioner, as filter, and as what another training begins with."""
        built = task.built
        state = {name: value.cpu() for name, value in built.model.state_dict().items()}
        write_folder(state, describe_trained(built.config), built.tokens.tokenizer, folder)

    def make_table(self, rows: list[Row]) -> pa.Table:
        """A row per number."""
        return as_table(rows)
