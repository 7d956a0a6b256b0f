"""Batches for the training loop, and the images that retrieval is measured on."""

from __future__ import annotations

import logging
from collections.abc import Generator
from typing import NamedTuple

import torch
from torch import Tensor

from stages.errors import UserError
from stages.models.qformer.model import Text
from stages.models.qformer.tokens import Tokens
from stages.pretrain.objective import Batch
from stages.pretrain.spec import PretrainRecipe
from stages.training.augment import Augmentation, as_augmented, as_evaluated
from stages.training.corpus import Corpus, check_corpus
from stages.training.features import Encoder, KeptFeatures
from stages.training.feed import Drawn, Feed
from stages.training.order import mix
from stages.training.place import Stretch
from stages.training.recall import LIMIT

logger = logging.getLogger(__name__)


class Holdout(NamedTuple):
    """Images that are not trained on, each with its best caption."""

    features: Tensor
    text: Text
    captions: tuple[str, ...]


class Prepared(NamedTuple):
    """A part as it lies on the CPU, before the frozen tower."""

    drawn: Drawn
    text: Text
    identities: Tensor
    uniforms: Tensor


class Data:
    """The corpus as batches, read and decoded in the background while the model works on the ones before.

    Features are kept in memory if they fit into `cache` GiB and are always the same.

    Raises:
        UserError: there are too few images to train on, or to measure with.
    """

    def __init__(
        self, corpus: Corpus, recipe: PretrainRecipe, encoder: Encoder, tokens: Tokens, *, cache: float
    ) -> None:
        check_corpus("pretrain", corpus, recipe)
        self._corpus = corpus
        self._recipe = recipe
        self._encoder = encoder
        self._tokens = tokens
        how = as_augmented(encoder.view, recipe.seed, Augmentation()) if recipe.augment else as_evaluated(encoder.view)
        keep = not recipe.augment and encoder.feature_bytes * self.images <= cache * 2**30
        self._kept = KeptFeatures(encoder, corpus) if keep else None
        self._feed = Feed(corpus, recipe, encoder.reader, how, self._kept)
        kept = "kept in memory" if keep else "computed for every batch"
        logger.info("%d images, %d held out; features are %s", self.images, corpus.size.holdout, kept)

    @property
    def images(self) -> int:
        """Images that are trained on."""
        return self._corpus.size.training

    @property
    def measures(self) -> bool:
        """Whether images are held out."""
        return self._corpus.size.holdout > 0

    def epochs(self, step: int) -> dict[str, int]:
        """The epoch that each source is in at the first image of a step (from 1)."""
        return self._feed.mixture.epochs((step - 1) * self._recipe.batch_size)

    def batches(self, stretch: Stretch) -> Generator[Batch]:
        """A worker's parts of some steps, `accumulate` for every step."""
        prepared = self._feed.parts(stretch, self._complete)
        try:
            yield from map(self._finish, prepared)
        finally:
            prepared.close()

    def holdout(self) -> Holdout:
        """The held-out images, `LIMIT` at most, encoded anew.

        Raises:
            UserError: fewer than two of them can be decoded.
        """
        features, examples = self._encoder.encode_all(self._corpus.held_out(LIMIT))
        if len(examples) < 2:
            raise UserError("pretrain.holdout: fewer than two of its images can be decoded; raise it, or set 0")
        captions = tuple(example.captions[0] for example in examples)
        return Holdout(features, self._tokens(captions), captions)

    def _complete(self, drawn: Drawn) -> Prepared:
        part = drawn.part
        generator = torch.Generator().manual_seed(mix("wrong", self._recipe.seed, part.number))
        uniforms = torch.rand(2, part.size, part.size, generator=generator)
        return Prepared(
            drawn,
            self._tokens([self._feed.caption(turn.example, turn.epoch) for turn in drawn.turns]),
            torch.tensor([turn.example.identity for turn in drawn.turns]),
            uniforms[:, part.first : part.first + part.images],
        )

    def _finish(self, prepared: Prepared) -> Batch:
        """Features, and everything on the device."""
        device, drawn = self._encoder.device, prepared.drawn
        if drawn.pixels is None:
            assert self._kept is not None
            features = self._kept.of(drawn.turns)
        else:
            features = self._encoder.encode(drawn.pixels)
        return Batch(
            features,
            prepared.text.to(device),
            prepared.identities.to(device),
            prepared.uniforms.to(device),
            drawn.part.first,
        )
