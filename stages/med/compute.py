"""The med stage's compute: builds a BLIP, or goes on from one, and trains it on image-text pairs."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from stages.med.build import build
from stages.med.spec import MedRecipe, MedRun
from stages.med.task import MedTask
from stages.models.blip.folder import write_folder
from stages.models.blip.trainable.published import describe_trained
from stages.training.augment import AREAS, WIDE_AREAS, Augmentation
from stages.training.blip_trainer import BlipTrainer
from stages.training.corpus import Corpus
from stages.training.examples import Choice
from stages.training.gather import all_or_none
from stages.training.holdout import hold_out
from stages.training.pairs import Pairs
from stages.training.place import Place
from stages.training.told import tell_drawn


class Med(BlipTrainer[MedTask]):
    """Pretrains BLIP."""

    key = "med"
    recipe: MedRecipe
    run: MedRun
    augmentations: ClassVar = {
        "blip": Augmentation(WIDE_AREAS, randaugment=True),
        "crop": Augmentation(AREAS),
    }

    @property
    def choice(self) -> Choice:
        """Every caption of every image."""
        return Choice(self.recipe.holdout, self.recipe.max_words, by_caption=True)

    def make_task(self, corpus: Corpus, place: Place) -> MedTask:
        """Build; what one worker refuses, all do."""
        recipe = self.recipe
        all_or_none(lambda: self.check(corpus, place))
        built = all_or_none(lambda: build(recipe, self.run))
        tell_drawn(self.key, built.drawn)
        shown = self.pictures(built.model.visual_encoder, recipe.image_size, corpus, place)
        pairs = Pairs(shown, corpus, recipe)
        held_out = hold_out(self.key, corpus, shown, built.tokens) if place.rank == 0 else None
        return MedTask(recipe, built, pairs, held_out, place.device)

    def write_model(self, task: MedTask, folder: Path) -> None:
        """A folder that serves as captioner, as filter, and as what another training begins with."""
        built = task.built
        state = {name: value.cpu() for name, value in built.model.state_dict().items()}
        write_folder(state, describe_trained(built.config), built.tokens.tokenizer, folder)
