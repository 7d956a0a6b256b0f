"""The align stage's compute: teaches a Q-Former to speak to a frozen language model, on image-text pairs."""

from __future__ import annotations

import logging
from pathlib import Path

import pyarrow as pa

from stages.align.build import Frozen, first_stage, load_frozen, make_model
from stages.align.objective import Objective
from stages.align.spec import AlignRecipe, AlignRun
from stages.align.task import AlignTask, HeldOut
from stages.align.texts import Texts
from stages.models.blip.text import QFORMER_MAX_WORDS
from stages.models.blip2.folder import write_second_stage
from stages.training.augment import Augmentation, as_augmented, as_evaluated
from stages.training.corpus import Corpus, check_corpus
from stages.training.examples import Choice
from stages.training.features import Encoder, KeptFeatures
from stages.training.gather import all_or_none
from stages.training.history import as_table
from stages.training.holdout import read_held_out
from stages.training.pairs import Pairs
from stages.training.pictures import Pictures
from stages.training.place import Place
from stages.training.reading import Reader
from stages.training.task import Row
from stages.training.told import tell_drawn
from stages.training.trainer import Trainer, check_parts

logger = logging.getLogger(__name__)


class Align(Trainer[AlignTask]):
    """Trains BLIP-2's second stage."""

    key = "align"
    recipe: AlignRecipe
    run: AlignRun
    _frozen: Frozen

    @property
    def choice(self) -> Choice:
        """Images with their kept captions, one of which is drawn at a time."""
        return Choice(self.recipe.holdout, QFORMER_MAX_WORDS)

    def make_task(self, corpus: Corpus, place: Place) -> AlignTask:
        """Load and build; what one worker refuses, all do."""
        recipe = self.recipe
        all_or_none(lambda: self._check(corpus, place))
        before = all_or_none(lambda: first_stage(recipe))
        frozen = all_or_none(lambda: load_frozen(recipe, before, place.device))
        shown = self._pictures(frozen, corpus, place)
        assert shown.encoder is not None
        width = shown.encoder.width
        model = all_or_none(lambda: make_model(recipe, before, width, frozen.language))
        tell_drawn(self.key, ["language_projection"] if before else ["everything"])
        held_out = all_or_none(lambda: self._hold_out(corpus, shown, place))
        self._frozen = frozen
        texts = Texts(frozen.language, recipe.prompt, recipe.max_text_tokens, recipe.seed)
        objective = Objective(model, frozen.language)
        return AlignTask(recipe, objective, Pairs(shown, corpus, recipe), texts, held_out, place.device)

    def write_model(self, task: AlignTask, folder: Path) -> None:
        """What was trained, and the names of what was not."""
        frozen, recipe = self._frozen, self.recipe
        write_second_stage(task.model, frozen.tower_name, frozen.language_name, recipe.prompt, folder)

    def make_table(self, rows: list[Row]) -> pa.Table:
        """A row per number."""
        return as_table(rows)

    def _check(self, corpus: Corpus, place: Place) -> None:
        check_parts(self.key, self.recipe, place)
        check_corpus(self.key, corpus, self.recipe)

    def _pictures(self, frozen: Frozen, corpus: Corpus, place: Place) -> Pictures:
        """Features of the frozen tower, kept in memory if they fit and are always the same."""
        recipe, view = self.recipe, frozen.view
        reader = Reader(self.run.readers, pinned=place.device.type == "cuda")
        encoder = Encoder(frozen.tower, view, place.device, reader)
        evaluated = as_evaluated(view)
        how = as_augmented(view, recipe.seed, Augmentation()) if recipe.augment else evaluated
        keep = not recipe.augment and encoder.feature_bytes * corpus.size.training <= self.run.cache * 2**30
        logger.info("features are %s", "kept in memory" if keep else "computed for every batch")
        kept = KeptFeatures(encoder, corpus) if keep else None
        return Pictures(reader, how, evaluated, encoder, kept, place.device)

    def _hold_out(self, corpus: Corpus, shown: Pictures, place: Place) -> HeldOut | None:
        found = read_held_out(self.key, corpus, shown) if place.rank == 0 else None
        return None if found is None else HeldOut(*found)
