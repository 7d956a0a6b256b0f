"""What all trainings of a BLIP tell the loop alike; a subclass says its batches, its rate and its measurement."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from stages.models.blip.trainable.contrast import Contrast
from stages.training.pairs import Pairs
from stages.training.task import Row


class BlipTask:
    """A BLIP and its pairs; see `stages.training.task.Task`."""

    def __init__(self, key: str, recipe: Any, model: nn.Module, pairs: Pairs, device: torch.device) -> None:
        self.key = key
        self.dtype = recipe.dtype
        self.seed: int = recipe.seed
        self.batch_size: int = recipe.batch_size
        self.accumulate: int = recipe.accumulate
        self.objective: nn.Module = model
        self._recipe = recipe
        self._pairs = pairs
        self._device = device
        self._epoch_steps = pairs.feed.epoch_steps
        self.steps: int = recipe.epochs * self._epoch_steps

    def make_optimiser(self) -> Optimizer:
        """AdamW that decays all that is trained, as BLIP does."""
        recipe = self._recipe
        trained = [parameter for parameter in self.objective.parameters() if parameter.requires_grad]
        return AdamW(trained, lr=recipe.lr, betas=recipe.betas, weight_decay=recipe.weight_decay, fused=True)

    def is_fed(self, batch: Any) -> Tensor:
        """Whether all features of a frozen tower are finite."""
        found: Tensor = batch.images.isfinite().all()
        return found

    def told(self, step: int) -> Row:
        """The epochs that the step's first image belongs to, and the temperature where there is one."""
        epochs = self._pairs.feed.mixture.epochs((step - 1) * self.batch_size)
        model = self.objective
        temperature = {"temperature": model.temp.item()} if isinstance(model, Contrast) else {}
        return {**temperature, **{f"epoch_{name}": epoch for name, epoch in epochs.items()}}

    def settle(self) -> None:
        """Nothing: the temperature is clamped where it is used."""
