"""The pretrained Q-Former, and the model under it: everything that is compared, on one device."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from stages.contract import Dtype, QFormerRecipe, Result
from stages.evaluate.spec import EvaluateRun
from stages.models.device import autocast, limit_threads, resolve_device
from stages.models.families import load_encoder, load_tower
from stages.models.family import DualEncoder, ModelName
from stages.models.finite import NumberFormat
from stages.models.qformer.model import QFormer, load_qformer
from stages.models.qformer.tokens import Tokens
from stages.models.vision.tower import View, VisionTower
from stages.tables import CHECKPOINT
from stages.training.result import WEIGHTS

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Models:
    """What is measured, in evaluation mode."""

    qformer: QFormer
    tower: VisionTower
    view: View
    tokens: Tokens
    clip: DualEncoder | None
    """The whole model whose image tower is `tower`; None where that is all there is."""
    device: torch.device
    dtype: Dtype
    """What the tower computes in; the Q-Former computes as it did in its training."""

    @property
    def numbers(self) -> NumberFormat:
        """What is said of numbers that are not finite."""
        return NumberFormat("pretrain", self.dtype)

    def autocast(self) -> AbstractContextManager[object]:
        """The Q-Former's number formats, as in `pretrain`."""
        return autocast(self.dtype, self.device)


def load_models(pretrained: Result, run: EvaluateRun) -> Models:
    """Load what `pretrain` left, and what it was made with.

    Raises:
        UserError: a model is missing.
    """
    recipe = pretrained.recipe
    assert isinstance(recipe, QFormerRecipe)
    limit_threads(run.threads)
    device = resolve_device(run.device, "evaluate.run.device")
    name = ModelName("pretrain.model", recipe.model, recipe.pretrained, recipe.revision)
    tower, view = load_tower(name, recipe.dtype, device)
    tokens = Tokens(recipe.tokenizer, recipe.tokenizer_revision, recipe.max_text_tokens)
    clip = load_encoder(name, recipe.dtype, device)
    if clip is None:
        logger.warning("%s '%s' reads no text: nothing is measured without the Q-Former", name.key, name.model)
    qformer = load_qformer(f"{pretrained.artifact.side(CHECKPOINT)}/{WEIGHTS}").to(device)
    return Models(qformer, tower, view, tokens, clip, device, recipe.dtype)
