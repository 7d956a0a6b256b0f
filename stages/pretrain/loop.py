"""The training loop: plain torch, alone or as one of several workers of a process group.

What a step does follows from (recipe, corpus, step, rank): images, captions, wrong partners and dropout are drawn from
seeds made of those. A checkpoint therefore needs no generator and no position, and a training that was killed anywhere
goes on as if nothing had happened, to the last bit on a CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from stages.errors import UserError
from stages.models.qformer import QFormer
from stages.pretrain.checkpoints import Checkpoints
from stages.pretrain.data import Data
from stages.pretrain.gather import mean
from stages.pretrain.objective import Losses, Objective
from stages.pretrain.order import mix
from stages.pretrain.retrieval import compare, recall_at_1
from stages.pretrain.schedule import learning_rate, make_optimiser
from stages.pretrain.spec import PretrainRecipe

Row = dict[str, Any]
"""A row of `tables.METRICS`."""
OnStep = Callable[[Row], None]


@dataclass(frozen=True)
class Place:
    """Which worker this is."""

    rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


class Training:
    """One worker's model, optimiser and history."""

    def __init__(self, recipe: PretrainRecipe, objective: Objective, data: Data, place: Place) -> None:
        self._recipe = recipe
        self._data = data
        self._place = place
        self._objective = objective.to(place.device).train()
        self._optimiser = make_optimiser(objective.model, recipe)
        self._done = 0
        self.rows: list[Row] = []

    @property
    def model(self) -> QFormer:
        """What is trained."""
        return self._objective.model

    def run(self, checkpoints: Checkpoints, every: int, on_step: OnStep) -> None:
        """Train from the newest checkpoint to the last step; all workers call this together.

        Raises:
            UserError: a loss or a gradient is no longer a number.
        """
        self._resume(checkpoints)
        step_of = self._shared(self._objective)
        for step in range(self._done + 1, self._recipe.steps + 1):
            self._keep(self._step(step, step_of), on_step)
            if self._place.rank == 0 and self._is_measured(step):
                self._keep(self._measure(step), on_step)
            self._done = step
            if self._place.rank == 0 and (step % every == 0 or step == self._recipe.steps):
                checkpoints.save(step, self._state())

    def _step(self, step: int, objective: nn.Module) -> Row:
        """One update, and what is told of it."""
        recipe, first = self._recipe, (step - 1) * self._recipe.batch_size
        rate = learning_rate(step, recipe)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        batch = self._data.batch(step, self._place.rank, self._place.world_size)
        torch.manual_seed(mix("dropout", recipe.seed, step, self._place.rank))
        temperature = self.model.temperature.item()
        with self._autocast():
            losses: Losses = objective(batch)
        self._optimiser.zero_grad()
        losses.total.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(objective.parameters(), math.inf)  # measures, and clips nothing
        told = _told(losses, norm)
        _check_finite(step, told)
        self._optimiser.step()
        self.model.clamp_temperature()
        epoch = first // self._data.images
        return {"phase": "train", "step": step, "epoch": epoch, "lr": rate, "temperature": temperature, **told}

    def _measure(self, step: int) -> Row:
        """Retrieval among the images that are kept back."""
        holdout = self._data.holdout
        with self._autocast():
            similarity = compare(self.model, holdout.features, holdout.text)
        recall = recall_at_1(similarity, holdout.captions)
        return {
            "phase": "holdout",
            "step": step,
            "epoch": (step - 1) * self._recipe.batch_size // self._data.images,
            "images": len(holdout.captions),
            "r1_image_to_text": recall.image_to_text,
            "r1_text_to_image": recall.text_to_image,
            "chance": 1 / len(holdout.captions),
        }

    def _is_measured(self, step: int) -> bool:
        every = self._recipe.evaluate_every or self._recipe.steps
        return bool(self._data.holdout.captions) and (step % every == 0 or step == self._recipe.steps)

    def _keep(self, row: Row, on_step: OnStep) -> None:
        if self._place.rank == 0:
            self.rows.append(row)
            on_step(row)

    def _state(self) -> dict[str, Any]:
        model, optimiser = self.model.state_dict(), self._optimiser.state_dict()
        return {"step": self._done, "model": model, "optimiser": optimiser, "rows": self.rows}

    def _resume(self, checkpoints: Checkpoints) -> None:
        """Take up the newest checkpoint, the one that rank 0 sees: listings may differ for a moment."""
        found = checkpoints.newest() if self._place.rank == 0 else None
        step = [found[0] if found else None]
        if self._place.world_size > 1:
            dist.broadcast_object_list(step)
        if step[0] is None:
            return
        state = found[1] if found else checkpoints.load(step[0])
        self._done, self.rows = state["step"], state["rows"]
        self.model.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])

    def _shared(self, objective: Objective) -> nn.Module:
        """The objective as it is called; among several workers DDP averages the gradients."""
        if self._place.world_size == 1:
            return objective
        index = self._place.device.index
        return DistributedDataParallel(objective, device_ids=None if index is None else [index])

    def _autocast(self) -> Any:
        if self._recipe.dtype != "bfloat16":
            return nullcontext()
        return torch.autocast(self._place.device.type, torch.bfloat16)


def _told(losses: Losses, norm: Tensor) -> Row:
    """The numbers of a step, the mean over the workers, in one transfer from the device."""
    values = mean(torch.stack([losses.total, losses.itc, losses.itm, losses.itg, losses.itm_accuracy, norm]))
    names = ("loss", "itc", "itm", "itg", "itm_accuracy", "grad_norm")
    return dict(zip(names, values.tolist(), strict=True))


def _check_finite(step: int, told: Row) -> None:
    if all(map(math.isfinite, told.values())):
        return
    numbers = ", ".join(f"{name} {value:.4g}" for name, value in told.items())
    raise UserError(
        f"pretrain: step {step} is no longer finite ({numbers}); nothing was updated. "
        f"Lower pretrain.lr or lengthen pretrain.warmup; with dtype float16 or bfloat16 try float32"
    )
