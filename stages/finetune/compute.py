"""The finetune stage's compute: makes what a task asks for of a pretrained BLIP."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from stages.finetune.build import build
from stages.finetune.questions import AnsweringTask, hold_out_questions
from stages.finetune.spec import FinetuneRecipe, FinetuneRun
from stages.finetune.task import FinetuneTask
from stages.models.blip.answer_list import write_answers
from stages.models.blip.folder import write_folder
from stages.models.blip.trainable.published import describe_trained
from stages.models.blip.trainable.vqa import Vqa
from stages.training.augment import AREAS, Augmentation
from stages.training.blip_trainer import BlipTrainer
from stages.training.corpus import Corpus
from stages.training.examples import Choice
from stages.training.gather import all_or_none
from stages.training.holdout import hold_out
from stages.training.pairs import Pairs
from stages.training.place import Place
from stages.training.told import tell_drawn


class Finetune(BlipTrainer[FinetuneTask]):
    """Fine-tunes BLIP."""

    key = "finetune"
    recipe: FinetuneRecipe
    run: FinetuneRun
    augmentations: ClassVar = {
        "blip": Augmentation(AREAS, randaugment=True),
        "crop": Augmentation(AREAS),
    }

    @property
    def choice(self) -> Choice:
        """Every human caption of every image, or every question about it."""
        recipe = self.recipe
        asked = recipe.task == ("vqa",)
        return Choice(recipe.holdout, recipe.max_words, by_caption=True, origin="human", questions=asked)

    def make_task(self, corpus: Corpus, place: Place) -> FinetuneTask:
        """Build; what one worker refuses, all do."""
        recipe = self.recipe
        all_or_none(lambda: self.check(corpus, place))
        built = all_or_none(lambda: build(recipe, self.run))
        tell_drawn(self.key, built.drawn)
        shown = self.pictures(built.model.visual_encoder, built.config.vision.image_size, corpus, place)
        pairs = Pairs(shown, corpus, recipe)
        if isinstance(built.model, Vqa):
            asked = hold_out_questions(self.key, corpus, shown, built) if place.rank == 0 else None
            return AnsweringTask(recipe, built, pairs, asked, corpus, place.device)
        held_out = hold_out(self.key, corpus, shown, built.tokens) if place.rank == 0 else None
        return FinetuneTask(recipe, built, pairs, held_out, place.device)

    def write_model(self, task: FinetuneTask, folder: Path) -> None:
        """A folder of Hugging Face's class for the task, and what else a later training goes on with."""
        built = task.built
        state = {name: value.cpu() for name, value in built.model.state_dict().items()}
        looked_at = built.config.text.width if isinstance(built.model, Vqa) else None
        write_folder(state, describe_trained(built.config, looked_at), built.tokens.tokenizer, folder)
        if isinstance(task, AnsweringTask):
            write_answers(folder, task.common_answers())
