"""The pretrain stage's compute: loads the frozen tower, trains the Q-Former, leaves its weights and its history."""

from __future__ import annotations

import logging

import pyarrow as pa
import safetensors.torch
import torch

from stages.contract import CorpusJob, Output
from stages.errors import UserError
from stages.models.clip_loading import ClipName
from stages.models.device import limit_threads, resolve_device
from stages.models.qformer import QFormer, QFormerConfig, config_metadata
from stages.models.tokens import Tokens
from stages.models.vision_tower import load_vision_tower
from stages.pretrain.checkpoints import Checkpoints
from stages.pretrain.corpus import read_corpus
from stages.pretrain.data import Data
from stages.pretrain.features import Encoder
from stages.pretrain.gather import first_refusal
from stages.pretrain.loop import OnStep, Place, Row, Training
from stages.pretrain.objective import Objective
from stages.pretrain.order import mix
from stages.pretrain.result import is_finished, read_result, write_result
from stages.pretrain.spec import PretrainRecipe, PretrainRun
from stages.pretrain.tables import METRICS

logger = logging.getLogger(__name__)

LOG_EVERY = 50
"""Steps between two lines in the log."""


class Pretrain:
    """Trains in the process that calls it. Unlike the other stages' computes it gets all shards at once."""

    def __init__(self, recipe: PretrainRecipe, run: PretrainRun) -> None:
        self._recipe = recipe
        self._run = run

    def __call__(self, work: CorpusJob) -> Output:
        """Train, or take up a training that was interrupted, alone."""
        if not is_finished(work):
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
        """Train as one of several workers; rank 0 leaves checkpoints, and in the end the result.

        Args:
            work: what to read and where to leave it.
            rank: the worker's number in the process group, which exists if there are several.
            world_size: how many workers there are.
            device: overrides the run's.
            on_step: is given every row of the history as it is made, on rank 0.

        Raises:
            UserError: a model is missing, the corpus is too small, or the loss is no longer a number.
        """
        checkpoints = Checkpoints(work.checkpoints, self._run.keep_checkpoints)
        with torch.random.fork_rng(devices=[]):  # the loop seeds torch's generator, which others in this process share
            training = self._prepare_together(work, rank, world_size, device)
            training.run(checkpoints, self._run.checkpoint_every, on_step or _log)
        if rank == 0:
            write_result(work, pa.Table.from_pylist(training.rows, schema=METRICS), _serialised(training.model))

    def _prepare_together(self, work: CorpusJob, rank: int, world_size: int, device: str | None) -> Training:
        """Prepare, all workers or none."""
        training, refusal = None, None
        try:
            training = self._prepare(work, rank, world_size, device)
        except UserError as error:
            refusal = str(error)
        if refusal := first_refusal(refusal):
            raise UserError(refusal)
        assert training is not None
        return training

    def _prepare(self, work: CorpusJob, rank: int, world_size: int, device: str | None) -> Training:
        recipe, run = self._recipe, self._run
        if recipe.batch_size % world_size:
            raise UserError(f"pretrain.batch_size: {recipe.batch_size} does not divide by run.workers {world_size}")
        limit_threads(run.threads)
        place = Place(rank, world_size, resolve_device(device or run.device, "pretrain.run.device"))
        name = ClipName("pretrain.model", recipe.model, recipe.pretrained, recipe.revision)
        tower, view = load_vision_tower(name, recipe.dtype, place.device)
        tokens = Tokens(recipe.tokenizer, recipe.tokenizer_revision, recipe.max_text_tokens, place.device)
        encoder = Encoder(tower, view, place.device, run.readers)
        data = Data(read_corpus(work.corpus, recipe.holdout), recipe, encoder, tokens, cache=run.cache)
        model = make_model(recipe, tokens.vocabulary, encoder.width)
        return Training(recipe, Objective(model, tokens.start), data, place)


def make_model(recipe: PretrainRecipe, vocabulary: int, vision_width: int) -> QFormer:
    """The Q-Former at step 0: the same for the same seed, whatever was drawn before."""
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
    return QFormer(config)


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
