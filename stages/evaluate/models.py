"""What is measured by retrieval: the Q-Former that `pretrain` made, and a matching model, one after the other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from stages.contract import QFormerRecipe, Result
from stages.evaluate.spec import EvaluateRecipe, EvaluateRun
from stages.models.device import limit_threads, resolve_device
from stages.models.families import load_encoder, load_retriever, load_tower
from stages.models.family import DualEncoder, ModelName, Retriever
from stages.models.finite import NumberFormat
from stages.models.qformer.model import load_qformer
from stages.models.qformer.retriever import QFormerRetriever
from stages.models.qformer.tokens import Tokens
from stages.tables import CHECKPOINT, WEIGHTS_FILE

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Beside:
    """What the tower under a Q-Former can do without it."""

    clip: DualEncoder
    """The whole model whose image tower it is."""
    pool: Callable[[Tensor], Tensor]
    """Features, (images, tokens, width), to embeddings in that model's space, (images, width)."""


@dataclass(frozen=True)
class Models:
    """One model that is measured, in evaluation mode."""

    name: Literal["qformer", "matcher"]
    """As the table of results has it, before `_itc` and `_itm`."""
    words: str
    """What it is called in messages."""
    retriever: Retriever
    top_k: int
    """Candidates that are looked at closely."""
    beside: Beside | None
    """None of a matching model, and of a Q-Former whose tower is all that there is of its model."""
    device: torch.device
    numbers: NumberFormat
    """What is said of numbers that are not finite."""


def load_models(recipe: EvaluateRecipe, run: EvaluateRun, results: Mapping[str, Result]) -> Iterator[Models]:
    """Load each model when it is its turn.

    Args:
        recipe: names the matching model.
        run: where to.
        results: what other steps have made, by role.

    Raises:
        UserError: a model is missing.
    """
    limit_threads(run.threads)
    device = resolve_device(run.device, "evaluate.run.device")
    if pretrained := results.get("qformer"):
        yield _load_qformer(pretrained, recipe.top_k, device)
    if recipe.matcher is not None:
        name = ModelName("evaluate.matcher", recipe.matcher, revision=recipe.matcher_revision)
        retriever = load_retriever(name, recipe.dtype, device)
        numbers = NumberFormat("evaluate", recipe.dtype, model="matcher")
        yield Models("matcher", "the matcher", retriever, recipe.matcher_top_k, None, device, numbers)


def _load_qformer(pretrained: Result, top_k: int, device: torch.device) -> Models:
    """What `pretrain` left, and what it was made with."""
    recipe = pretrained.recipe
    assert isinstance(recipe, QFormerRecipe)
    name = ModelName("pretrain.model", recipe.model, recipe.pretrained, recipe.revision)
    tower, view = load_tower(name, recipe.dtype, device)
    tokens = Tokens(recipe.tokenizer, recipe.tokenizer_revision, recipe.max_text_tokens)
    clip = load_encoder(name, recipe.dtype, device)
    if clip is None:
        logger.warning("%s '%s' reads no text: nothing is measured without the Q-Former", name.key, name.model)
    qformer = load_qformer(f"{pretrained.artifact.side(CHECKPOINT)}/{WEIGHTS_FILE}").to(device)
    retriever = QFormerRetriever(qformer, tower, tokens, view.preprocess, recipe.dtype)
    beside = Beside(clip, tower.pool) if clip is not None else None
    return Models("qformer", "the Q-Former", retriever, top_k, beside, device, NumberFormat("pretrain", recipe.dtype))
