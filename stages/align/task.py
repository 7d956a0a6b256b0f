"""BLIP-2's second stage as the training loop sees it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from stages.align.objective import Batch, Objective
from stages.align.spec import AlignRecipe
from stages.align.texts import Texts
from stages.models.device import autocast
from stages.models.language.model import Read
from stages.training.examples import Example
from stages.training.feed import Drawn
from stages.training.holdout import CHUNK
from stages.training.pairs import Pairs
from stages.training.place import Stretch
from stages.training.schedule import cosine
from stages.training.task import Row


class Prepared(NamedTuple):
    """A part as it lies on the CPU, before the frozen tower."""

    drawn: Drawn
    read: Read


class HeldOut(NamedTuple):
    """Images that are not trained on."""

    features: Tensor
    """(images, tokens, width), on the CPU."""
    examples: Sequence[Example]


class AlignTask:
    """Soft prompts, captions and the frozen language model; see `stages.training.task.Task`."""

    def __init__(  # noqa: PLR0913, PLR0917 - what it consists of
        self,
        recipe: AlignRecipe,
        objective: Objective,
        pairs: Pairs,
        texts: Texts,
        held_out: HeldOut | None,
        device: torch.device,
    ) -> None:
        self.key = "align"
        self.dtype = recipe.dtype
        self.seed = recipe.seed
        self.steps = recipe.steps
        self.batch_size = recipe.batch_size
        self.accumulate = recipe.accumulate
        self.evaluate_every = recipe.evaluate_every
        self.measures = held_out is not None
        self.objective: nn.Module = objective
        self.model = objective.model
        self._judge = objective.judge
        self._recipe = recipe
        self._pairs = pairs
        self._texts = texts
        self._held_out = held_out
        self._device = device

    def make_optimiser(self) -> Optimizer:
        """AdamW that decays matrices, and the queries, as LAVIS does."""
        recipe = self._recipe
        groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
        for parameter in self.objective.parameters():
            groups[parameter.ndim > 1].append(parameter)
        options: list[dict[str, Any]] = [
            {"params": groups[True], "weight_decay": recipe.weight_decay},
            {"params": groups[False], "weight_decay": 0.0},
        ]
        return AdamW(options, lr=recipe.lr, betas=recipe.betas)

    def rate(self, step: int) -> float:
        """Along a cosine."""
        recipe = self._recipe
        return cosine(step, lr=recipe.lr, min_lr=recipe.min_lr, warmup=recipe.warmup, steps=recipe.steps)

    def batches(self, stretch: Stretch) -> Generator[Batch]:
        """A worker's parts of the steps."""
        return self._pairs.batches(stretch, self._complete, self._finish)

    def is_fed(self, batch: Any) -> Tensor:
        """Whether all features are finite."""
        found: Tensor = batch.features.isfinite().all()
        return found

    def told(self, step: int) -> Row:
        """The epochs that the step's first image belongs to."""
        epochs = self._pairs.feed.mixture.epochs((step - 1) * self.batch_size)
        return {f"epoch_{name}": epoch for name, epoch in epochs.items()}

    def settle(self) -> None:
        """Nothing."""

    @torch.no_grad()
    def measure(self, step: int) -> Row:  # noqa: ARG002 - the same after every step
        """The mean loss of a token of the held-out images' best captions, each with its image and with another's.

        A model that does not look says of both the same.
        """
        held_out = self._held_out
        assert held_out is not None
        others = held_out.features.roll(1, dims=0)
        self.objective.eval()
        row = {
            "images": len(held_out.examples),
            "lm": self._loss(held_out.features, held_out.examples),
            "lm_of_another_image": self._loss(others, held_out.examples),
        }
        self.objective.train()
        return row

    def _loss(self, features: Tensor, examples: Sequence[Example]) -> float:
        total, tokens = 0.0, 0
        for first in range(0, len(examples), CHUNK):
            chunk = examples[first : first + CHUNK]
            read = self._texts.read([one.captions[0] for one in chunk], [one.key for one in chunk], [0] * len(chunk))
            batch = Batch(features[first : first + CHUNK].to(self._device), read.to(self._device))
            with autocast(self.dtype, self._device):
                summed, number = self._judge(batch)
            total, tokens = total + summed.item(), tokens + int(number)
        return total / tokens

    def _complete(self, drawn: Drawn) -> Prepared:
        said = [self._pairs.feed.caption(turn.example, turn.epoch) for turn in drawn.turns]
        keys, epochs = [turn.example.key for turn in drawn.turns], [turn.epoch for turn in drawn.turns]
        return Prepared(drawn, self._texts.read(said, keys, epochs))

    def _finish(self, prepared: Prepared) -> Batch:
        return Batch(self._pairs.images(prepared.drawn), prepared.read.to(self._device))
