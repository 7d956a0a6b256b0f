"""The pretrain stage's compute: loads the frozen tower, trains the Q-Former, leaves its weights and its history."""

from __future__ import annotations

import logging
from pathlib import Path

import pyarrow as pa
import safetensors.torch
import torch

from stages.contract import CorpusJob, Output
from stages.errors import UserError
from stages.models.device import limit_threads, resolve_device
from stages.models.families import check, load_tower
from stages.models.family import ModelName
from stages.models.qformer.model import QFormer, QFormerConfig, config_metadata
from stages.models.qformer.tokens import Tokens
from stages.pretrain.data import Data
from stages.pretrain.features import Encoder
from stages.pretrain.initialise import initialise
from stages.pretrain.loop import OnStep, Place, Row, Training
from stages.pretrain.objective import Objective
from stages.pretrain.result import is_finished, read_result, write_result
from stages.pretrain.spec import PretrainRecipe, PretrainRun
from stages.pretrain.tables import METRICS
from stages.training.checkpoints import Checkpoints
from stages.training.corpus import Corpus, count_images
from stages.training.curves import Curves
from stages.training.gather import all_or_none, everybodys
from stages.training.order import mix

logger = logging.getLogger(__name__)

LOG_EVERY = 50
"""Steps between two lines in the log."""


class Pretrain:
    """Trains in the process that calls it. Unlike the other stages' computes it gets all shards at once."""

    def __init__(self, recipe: PretrainRecipe, run: PretrainRun) -> None:
        self._recipe = recipe
        self._run = run
        self._tower = ModelName("pretrain.model", recipe.model, recipe.pretrained, recipe.revision)
        check(self._tower, "tower")

    def __call__(self, work: CorpusJob) -> Output:
        """Train, or take up a training that was interrupted, alone."""
        self.train(work)
        return read_result(work)

    def train(
        self,
        work: CorpusJob,
        *,
        rank: int = 0,
        world_size: int = 1,
        device: str | None = None,
        on_step: OnStep | None = None,
    ) -> None:
        """Train as one of several workers, if that is not done; rank 0 leaves checkpoints, and in the end the result.

        Args:
            work: what to read and where to leave it.
            rank: the worker's number in the process group, which exists if there are several.
            world_size: how many workers there are.
            device: overrides the run's.
            on_step: is given every row of the history as it is made, on rank 0.

        Raises:
            UserError: a model is missing, the corpus is too small, or the loss is no longer a number.
        """
        if is_finished(work):
            return
        checkpoints = Checkpoints(work.checkpoints, self._run.keep_checkpoints)
        with torch.random.fork_rng(devices=[]):  # the loop seeds torch's generator, which others in this process share
            limit_threads(self._run.threads)
            where = all_or_none(lambda: resolve_device(device or self._run.device, "pretrain.run.device"))
            training = self._prepare(work, Place(rank, world_size, where))
            training.resume(checkpoints)
            curves = Path(self._run.tensorboard).expanduser() if self._run.tensorboard and rank == 0 else None
            with Curves(curves, training.done) as drawn:
                training.run(checkpoints, self._run.checkpoint_every, _each(on_step or _log, drawn.draw))
        if rank == 0:
            write_result(work, pa.Table.from_pylist(training.rows, schema=METRICS), _serialised(training.model))

    def _prepare(self, work: CorpusJob, place: Place) -> Training:
        """Load, count and build; what one worker refuses, all do."""
        recipe = self._recipe
        encoder, tokens = all_or_none(lambda: self._load(place))
        corpus = self._read_corpus(work, place)
        data = all_or_none(lambda: Data(corpus, recipe, encoder, tokens, cache=self._run.cache))
        model = all_or_none(lambda: make_model(recipe, tokens.vocabulary, encoder.width))
        return Training(recipe, Objective(model, tokens.start), data, place)

    def _load(self, place: Place) -> tuple[Encoder, Tokens]:
        """The frozen tower and the tokenizer."""
        recipe = self._recipe
        if recipe.batch_size % (place.world_size * recipe.accumulate):
            parts = f"run.workers {place.world_size}"
            if recipe.accumulate > 1:
                parts += f" x accumulate {recipe.accumulate}"
            raise UserError(f"pretrain.batch_size: {recipe.batch_size} does not divide by {parts}")
        tower, view = load_tower(self._tower, recipe.dtype, place.device)
        tokens = Tokens(recipe.tokenizer, recipe.tokenizer_revision, recipe.max_text_tokens)
        return Encoder(tower, view, place.device, self._run.readers), tokens

    def _read_corpus(self, work: CorpusJob, place: Place) -> Corpus:
        """The corpus, whose shards the workers count together."""
        holdout = self._recipe.holdout
        counted = everybodys(count_images(work.corpus[place.rank :: place.world_size], holdout, self._run.readers))
        sizes = [counted[number % place.world_size][number // place.world_size] for number in range(len(work.corpus))]
        return Corpus(work.corpus, sizes, holdout, self._recipe.shuffle_shards)


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
    if recipe.init is not None:
        initialise(model, recipe.init, recipe.init_revision)
    return model


def _each(*listeners: OnStep) -> OnStep:
    """One listener that tells several."""

    def tell(row: Row) -> None:
        for listener in listeners:
            listener(row)

    return tell


def _serialised(model: QFormer) -> bytes:
    tensors = {name: value.contiguous().cpu() for name, value in model.state_dict().items()}
    content: bytes = safetensors.torch.save(tensors, config_metadata(model.config))
    return content


def _log(row: Row) -> None:
    if row["phase"] == "holdout":
        found = f"image to text {row['r1_image_to_text']:.3f}, text to image {row['r1_text_to_image']:.3f}"
        logger.info("step %d, recall at 1 of %d: %s", row["step"], row["images"], found)
    elif row["step"] % LOG_EVERY == 0:
        told = ", ".join(f"{name} {row[name]:.3f}" for name in ("itc", "itm", "itg"))
        logger.info("step %d: %s", row["step"], told)
