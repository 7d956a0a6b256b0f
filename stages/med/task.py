"""BLIP's pretraining as the training loop sees it."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from stages.med.build import Built
from stages.med.spec import MedRecipe
from stages.models.blip.trainable.losses import alpha_at
from stages.models.blip.trainable.pretraining import PretrainingBatch
from stages.models.blip.trainable.texts import Texts
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


class MedTask:
    """BLIP, its pairs and its losses; see `stages.training.task.Task`."""

    def __init__(
        self, recipe: MedRecipe, built: Built, pairs: Pairs, held_out: HeldOut | None, device: torch.device
    ) -> None:
        self.key = "med"
        self.dtype = recipe.dtype
        self.seed = recipe.seed
        self.batch_size = recipe.batch_size
        self.accumulate = recipe.accumulate
        self.evaluate_every = recipe.evaluate_every
        self.measures = held_out is not None
        self.built = built
        self.model = built.model
        self.objective: nn.Module = built.model
        self._recipe = recipe
        self._pairs = pairs
        self._held_out = held_out
        self._device = device
        self._epoch_steps = pairs.feed.epoch_steps
        self.steps = recipe.epochs * self._epoch_steps

    def make_optimiser(self) -> Optimizer:
        """AdamW that decays all that is trained, as BLIP does."""
        recipe = self._recipe
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        return AdamW(trained, lr=recipe.lr, betas=recipe.betas, weight_decay=recipe.weight_decay, fused=True)

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

    def is_fed(self, batch: Any) -> Tensor:
        """Whether all features of a frozen tower are finite."""
        found: Tensor = batch.images.isfinite().all()
        return found

    def told(self, step: int) -> Row:
        """The epochs that the step's first image belongs to, and the temperature."""
        epochs = self._pairs.feed.mixture.epochs((step - 1) * self.batch_size)
        return {"temperature": self.model.temp.item(), **{f"epoch_{name}": epoch for name, epoch in epochs.items()}}

    def settle(self) -> None:
        """Nothing: the temperature is clamped where it is used."""

    def measure(self, step: int) -> Row:  # noqa: ARG002 - the same after every step
        """How well the images that are kept back and their captions find one another by ITC."""
        assert self._held_out is not None
        return retrieval(self.model, self._held_out, self.dtype, self._device)

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
