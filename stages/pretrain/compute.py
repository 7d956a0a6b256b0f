"""The pretrain stage's compute: loads the frozen tower, trains the Q-Former, leaves its weights and its history."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import torch

from stages.models.blip.text import QFORMER_MAX_WORDS
from stages.models.families import check, load_tower, pinned
from stages.models.family import ModelName
from stages.models.qformer.folder import write_qformer
from stages.models.qformer.model import QFormer, QFormerConfig
from stages.models.qformer.tokens import Tokens
from stages.pretrain.data import Data
from stages.pretrain.initialise import initialise
from stages.pretrain.spec import PretrainRecipe, PretrainRun
from stages.pretrain.tables import METRICS
from stages.pretrain.task import QFormerTask
from stages.training.corpus import Corpus
from stages.training.examples import Choice
from stages.training.features import Encoder
from stages.training.gather import all_or_none
from stages.training.order import mix
from stages.training.place import Place
from stages.training.reading import Reader
from stages.training.task import Row
from stages.training.told import tell_drawn
from stages.training.trainer import Trainer, check_parts


class Pretrain(Trainer[QFormerTask]):
    """Trains BLIP-2's first stage."""

    key = "pretrain"
    recipe: PretrainRecipe
    run: PretrainRun

    def __init__(self, recipe: PretrainRecipe, run: PretrainRun) -> None:
        super().__init__(recipe, run)
        self._tower = ModelName("pretrain.model", recipe.model, recipe.pretrained, recipe.revision)
        self._tokenizer = ModelName("pretrain.tokenizer", recipe.tokenizer, revision=recipe.tokenizer_revision)
        check(self._tower, "tower")

    @property
    def choice(self) -> Choice:
        """Images with their kept captions, one of which is drawn at a time."""
        return Choice(self.recipe.holdout, QFORMER_MAX_WORDS)

    def make_task(self, corpus: Corpus, place: Place) -> QFormerTask:
        """Load and build; what one worker refuses, all do."""
        recipe = self.recipe
        encoder, tokens = all_or_none(lambda: self._load(place))
        data = all_or_none(lambda: Data(corpus, recipe, encoder, tokens, cache=self.run.cache))
        model = all_or_none(lambda: make_model(recipe, tokens.vocabulary, encoder.width))
        return QFormerTask(recipe, model, tokens.start, data, place.device)

    def write_model(self, task: QFormerTask, folder: Path) -> None:
        """The Q-Former's weights, and the names of tower and tokenizer."""
        write_qformer(task.model, self._tower, self._tokenizer, folder)

    def make_table(self, rows: list[Row]) -> pa.Table:
        """One row per step and measurement."""
        return pa.Table.from_pylist(rows, schema=METRICS)

    def _load(self, place: Place) -> tuple[Encoder, Tokens]:
        """The frozen tower and the tokenizer."""
        recipe = self.recipe
        check_parts(self.key, recipe, place)
        self._tower, self._tokenizer = pinned(self._tower), pinned(self._tokenizer)
        tower, view = load_tower(self._tower, recipe.dtype, place.device)
        tokens = Tokens(recipe.tokenizer, self._tokenizer.revision, recipe.max_text_tokens)
        reader = Reader(self.run.readers, pinned=place.device.type == "cuda")
        return Encoder(tower, view, place.device, reader), tokens


def make_model(recipe: PretrainRecipe, vocabulary: int, vision_width: int) -> QFormer:
    """The Q-Former at step 0: the same for the same seed, whatever was drawn before.

    Raises:
        UserError: `pretrain.init` is missing, broken or of other sizes.
    """
    config = QFormerConfig(
        vocabulary=vocabulary,
        vision_width=vision_width,
        queries=recipe.queries,
        width=recipe.width,
        layers=recipe.layers,
        heads=recipe.heads,
        projection=recipe.projection,
        max_text_tokens=recipe.max_text_tokens,
        image_every=recipe.image_every,
        dropout=recipe.dropout,
    )
    torch.manual_seed(mix("weights", recipe.seed))
    model = QFormer(config)
    if recipe.init is None:
        tell_drawn("pretrain", ["everything"])
    else:
        initialise(model, recipe.init, recipe.init_revision)
    return model
