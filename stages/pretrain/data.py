"""Batches for the training loop, and the images that retrieval is measured on."""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from stages.errors import UserError
from stages.io.prefetch import in_background
from stages.models.qformer.model import Text
from stages.models.qformer.tokens import Tokens
from stages.pretrain.features import Encoder, KeptFeatures, as_augmented, as_evaluated
from stages.pretrain.objective import Batch
from stages.pretrain.spec import PretrainRecipe
from stages.training.broken import Turn
from stages.training.corpus import Corpus, check_corpus
from stages.training.examples import Example
from stages.training.order import Draw, Mixture, mix
from stages.training.place import Part
from stages.training.recall import LIMIT

logger = logging.getLogger(__name__)

AHEAD = 16
"""Batches after which the images' shards should have been looked up."""


class Holdout(NamedTuple):
    """Images that are not trained on, each with its best caption."""

    features: Tensor
    text: Text
    captions: tuple[str, ...]


class Prepared(NamedTuple):
    """A part as it lies on the CPU, before the frozen tower."""

    part: Part
    turns: list[Turn]
    pixels: Tensor | None
    """None where features are kept."""
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
        self._mixture = Mixture(corpus.lines(recipe.seed), recipe.mixture)
        self._prepare = as_augmented(encoder.view, recipe.seed) if recipe.augment else as_evaluated(encoder.view)
        keep = not recipe.augment and encoder.feature_bytes * self.images <= cache * 2**30
        self._kept = KeptFeatures(encoder, corpus) if keep else None
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

    def batches(self, first_step: int, rank: int, workers: int) -> Generator[Batch]:
        """A worker's parts of the steps from `first_step` (from 1) to the last, `accumulate` for every step."""
        prepared = in_background(self._prepare_all(first_step, rank, workers), depth=2)
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

    def _prepare_all(self, first_step: int, rank: int, workers: int) -> Generator[Prepared]:
        """Runs in the background."""
        recipe = self._recipe
        size = recipe.batch_size // recipe.accumulate
        for number in range((first_step - 1) * recipe.accumulate, recipe.steps * recipe.accumulate):
            yield self._prepare_part(Part(number, rank, workers, size))

    def _prepare_part(self, part: Part) -> Prepared:
        seed, ahead = self._recipe.seed, AHEAD * part.size
        self._corpus.expect({self._mixture.at(position + ahead).shard for position in part.positions})
        drawn = [self._mixture.at(position) for position in part.positions]
        turns, pixels = self._read(drawn)
        generator = torch.Generator().manual_seed(mix("wrong", seed, part.number))
        uniforms = torch.rand(2, part.size, part.size, generator=generator)
        return Prepared(
            part,
            turns,
            pixels,
            self._tokens([self._caption(turn.example, turn.epoch) for turn in turns]),
            torch.tensor([turn.example.identity for turn in turns]),
            uniforms[:, part.first : part.first + part.images],
        )

    def _read(self, drawn: Sequence[Draw]) -> tuple[list[Turn], Tensor | None]:
        """The images that were drawn, or those that stand in for them, and their pixels unless features are kept."""
        if self._kept:
            return self._kept.turns(drawn), None
        return self._encoder.reader.drawn(self._corpus, drawn, self._prepare)

    def _finish(self, prepared: Prepared) -> Batch:
        """Features, and everything on the device."""
        device = self._encoder.device
        if self._kept:
            features = self._kept.of(prepared.turns)
        else:
            assert prepared.pixels is not None
            features = self._encoder.encode(prepared.pixels)
        return Batch(
            features,
            prepared.text.to(device),
            prepared.identities.to(device),
            prepared.uniforms.to(device),
            prepared.part.first,
            prepared.part.number,
        )

    def _caption(self, example: Example, epoch: int) -> str:
        """One of the image's captions, another draw in every epoch."""
        return example.captions[mix("caption", self._recipe.seed, epoch, example.key) % len(example.captions)]
