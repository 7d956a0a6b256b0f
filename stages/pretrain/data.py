"""Batches for the training loop, and the images that retrieval is measured on."""

from __future__ import annotations

import logging
from typing import NamedTuple

import torch
from torch import Tensor

from stages.errors import UserError
from stages.models.qformer import Text
from stages.models.tokens import Tokens
from stages.pretrain.corpus import Corpus, Example
from stages.pretrain.features import Encoder, Features, as_augmented, as_evaluated
from stages.pretrain.objective import Batch
from stages.pretrain.order import Draw, draws, mix
from stages.pretrain.retrieval import LIMIT
from stages.pretrain.spec import PretrainRecipe

logger = logging.getLogger(__name__)


class Holdout(NamedTuple):
    """Images that are not trained on, each with its best caption."""

    features: Tensor
    text: Text
    captions: tuple[str, ...]


class Data:
    """The corpus as batches; features are kept in memory if they fit into `cache` GiB and are always the same.

    Raises:
        UserError: there are too few images to train on, or to measure with.
    """

    def __init__(
        self,
        corpus: Corpus,
        recipe: PretrainRecipe,
        encoder: Encoder,
        tokens: Tokens,
        *,
        cache: float,
    ) -> None:
        _check(corpus, recipe)
        self._examples = corpus.training
        self._recipe = recipe
        self._tokens = tokens
        prepare = as_augmented(encoder.view, recipe.seed) if recipe.augment else as_evaluated(encoder.view)
        keep = not recipe.augment and encoder.feature_bytes * self.images <= cache * 2**30
        kept = "kept in memory" if keep else "computed for every batch"
        logger.info("%d images, %d held out; features are %s", self.images, len(corpus.holdout), kept)
        self._features = Features(encoder, self._examples, prepare, keep=keep)
        self.holdout = _make_holdout(corpus.holdout[:LIMIT], encoder, tokens)

    @property
    def images(self) -> int:
        """Images that are trained on."""
        return len(self._examples)

    def batch(self, step: int, rank: int, world_size: int) -> Batch:
        """A worker's part of a step (from 1)."""
        size, seed = self._recipe.batch_size, self._recipe.seed
        part = size // world_size
        first = rank * part
        drawn = draws((step - 1) * size + first, part, images=self.images, seed=seed)
        features = self._features.of(drawn)
        uniforms = torch.rand(2, size, size, generator=torch.Generator().manual_seed(mix("wrong", seed, step)))
        return Batch(
            features,
            self._tokens([self._caption(draw) for draw in drawn]),
            torch.tensor([self._examples[draw.image].identity for draw in drawn], device=features.device),
            uniforms[:, first : first + part].to(features.device),
            first,
        )

    def _caption(self, draw: Draw) -> str:
        """One of the image's captions, another draw in every epoch."""
        example: Example = self._examples[draw.image]
        return example.captions[mix("caption", self._recipe.seed, draw.epoch, example.key) % len(example.captions)]


def _make_holdout(examples: tuple[Example, ...], encoder: Encoder, tokens: Tokens) -> Holdout:
    captions = tuple(example.captions[0] for example in examples)
    chunks = list(encoder.encode_all(examples, as_evaluated(encoder.view)))
    return Holdout(torch.cat(chunks) if chunks else torch.empty(0), tokens(captions or ("",)), captions)


def _check(corpus: Corpus, recipe: PretrainRecipe) -> None:
    training, kept_back = len(corpus.training), len(corpus.holdout)
    if len({example.identity for example in corpus.training}) < 2:
        raise UserError(
            f"pretrain: the corpus has {training} image(s) to train on (and {kept_back} held out); "
            f"at least two different ones are needed: the view `funnel` shows where the others were lost"
        )
    if recipe.holdout and kept_back < 2:
        raise UserError(
            f"pretrain.holdout: {recipe.holdout:g} of {training + kept_back} images are {kept_back}; "
            f"at least two are needed: raise it, or set 0 to measure nothing"
        )
