"""The finetune stage's compute: makes what a task asks for of a pretrained BLIP."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pyarrow as pa

from stages.finetune.build import Built, build
from stages.finetune.questions import AnsweringTask, hold_out_questions
from stages.finetune.spec import FinetuneRecipe, FinetuneRun
from stages.finetune.task import FinetuneTask
from stages.models.blip.answer_list import write_answers
from stages.models.blip.folder import write_folder
from stages.models.blip.trainable.published import describe_trained
from stages.models.blip.trainable.vqa import Vqa
from stages.training.augment import AREAS, Augmentation
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
    "blip": Augmentation(AREAS, randaugment=True),
    "crop": Augmentation(AREAS),
}


class Finetune(Trainer[FinetuneTask]):
    """Fine-tunes BLIP."""

    key = "finetune"
    recipe: FinetuneRecipe
    run: FinetuneRun

    @property
    def choice(self) -> Choice:
        """Every human caption of every image, or every question about it."""
        recipe = self.recipe
        asked = recipe.task == ("vqa",)
        return Choice(recipe.holdout, recipe.max_words, by_caption=True, origin="human", questions=asked)

    def make_task(self, corpus: Corpus, place: Place) -> FinetuneTask:
        """Build; what one worker refuses, all do."""
        recipe = self.recipe
        all_or_none(lambda: self._check(corpus, place))
        built = all_or_none(lambda: build(recipe, self.run))
        tell_drawn(self.key, built.drawn)
        shown = self._pictures(built, corpus, place)
        pairs = Pairs(shown, corpus, recipe)
        if isinstance(built.model, Vqa):
            asked = hold_out_questions(self.key, corpus, shown, built) if place.rank == 0 else None
            return AnsweringTask(recipe, built, pairs, asked, corpus, place.device)
        held_out = hold_out(self.key, corpus, shown, built.tokens) if place.rank == 0 else None
        return FinetuneTask(recipe, built, pairs, held_out, place.device)

    def _pictures(self, built: Built, corpus: Corpus, place: Place) -> Pictures:
        recipe, view, readers = self.recipe, blip_view(built.config.vision.image_size), self.run.readers
        if recipe.freeze_vision:
            tower = built.model.visual_encoder
            return frozen_pictures(view, tower, corpus, self.run.cache, readers, place.device)
        return pictures(view, AUGMENTATIONS.get(recipe.augment), recipe.seed, readers, place.device)

    def _check(self, corpus: Corpus, place: Place) -> None:
        check_parts(self.key, self.recipe, place)
        check_corpus(self.key, corpus, self.recipe)

    def write_model(self, task: FinetuneTask, folder: Path) -> None:
        """A folder of Hugging Face's class for the task, and what else a later training goes on with."""
        built = task.built
        state = {name: value.cpu() for name, value in built.model.state_dict().items()}
        looked_at = built.config.text.width if isinstance(built.model, Vqa) else None
        write_folder(state, describe_trained(built.config, looked_at), built.tokens.tokenizer, folder)
        if isinstance(task, AnsweringTask):
            write_answers(folder, task.common_answers())

    def make_table(self, rows: list[Row]) -> pa.Table:
        """A row per number."""
        return as_table(rows)
