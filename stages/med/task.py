"""BLIP's pretraining as the training loop sees it."""

from __future__ import annotations

from collections.abc import Generator
from typing import NamedTuple

import torch
from torch import Tensor

from stages.med.build import Built
from stages.med.spec import MedRecipe
from stages.models.blip.trainable.losses import alpha_at
from stages.models.blip.trainable.pretraining import PretrainingBatch
from stages.models.blip.trainable.texts import Texts
from stages.training.blip_task import BlipTask
from stages.training.feed import Drawn
from stages.training.holdout import HeldOut, retrieval
from stages.training.pairs import Pairs, negatives
from stages.training.place import Stretch
from stages.training.schedule import by_epoch_decayed
from stages.training.task import Row

ALPHA_EPOCHS = 2
"""Epochs until the slow copies have their whole share in ITC's targets."""


class Prepared(NamedTuple):
    """A part as it lies on the CPU."""

    drawn: Drawn
    texts: Texts
    uniforms: Tensor


class MedTask(BlipTask):
    """BLIP, its pairs and its losses; see `stages.training.task.Task`."""

    def __init__(
        self, recipe: MedRecipe, built: Built, pairs: Pairs, held_out: HeldOut | None, device: torch.device
    ) -> None:
        super().__init__("med", recipe, built.model, pairs, device)
        self.evaluate_every = recipe.evaluate_every
        self.measures = held_out is not None
        self.built = built
        self._held_out = held_out

    def rate(self, step: int) -> float:
        """Less with every epoch."""
        recipe = self._recipe
        return by_epoch_decayed(
            step,
            lr=recipe.lr,
            min_lr=recipe.min_lr,
            decay=recipe.decay,
            epoch_steps=self._epoch_steps,
            warmup=recipe.warmup,
            warmup_lr=recipe.warmup_lr,
        )

    def batches(self, stretch: Stretch) -> Generator[PretrainingBatch]:
        """A worker's parts of the steps."""
        return self._pairs.batches(stretch, self._complete, self._finish)

    def measure(self, step: int) -> Row:  # noqa: ARG002 - the same after every step
        """How well the images that are kept back and their captions find one another by ITC."""
        assert self._held_out is not None
        return retrieval(self.built.model, self._held_out, self.dtype, self._device)

    def _complete(self, drawn: Drawn) -> Prepared:
        said = [self._pairs.feed.caption(turn.example, turn.epoch) for turn in drawn.turns]
        return Prepared(drawn, self.built.tokens(said), negatives(self.seed, drawn))

    def _finish(self, prepared: Prepared) -> PretrainingBatch:
        step = prepared.drawn.part.number // self.accumulate
        return PretrainingBatch(
            self._pairs.images(prepared.drawn),
            prepared.texts.to(self._device),
            prepared.uniforms.to(self._device),
            alpha_at(step, ALPHA_EPOCHS * self._epoch_steps),
        )
