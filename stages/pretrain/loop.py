"""The training loop: plain torch, alone or as one of several workers of a process group.

What a step does follows from (recipe, corpus, step, rank): images, captions, wrong partners and dropout are drawn from
seeds made of those. A checkpoint therefore needs no generator and no position, and a training that was killed anywhere
goes on as if nothing had happened, to the last bit on a CPU.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from stages.errors import UserError
from stages.models.device import autocast
from stages.models.qformer import QFormer
from stages.pretrain.checkpoints import Checkpoints
from stages.pretrain.data import Data, Holdout
from stages.pretrain.gather import mean
from stages.pretrain.objective import Batch, Losses, Objective
from stages.pretrain.order import mix
from stages.pretrain.retrieval import compare, recall_at_1
from stages.pretrain.schedule import learning_rate, make_optimiser
from stages.pretrain.spec import PretrainRecipe

Row = dict[str, Any]
"""A row of `tables.METRICS`."""
OnStep = Callable[[Row], None]
JUDGED = ("loss", "itc", "itm", "itg", "itm_accuracy", "grad_norm")
"""What must be finite."""


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
        self._holdout: Holdout | None = None
        self._place = place
        self._objective = objective.to(place.device).train()
        self._optimiser = make_optimiser(objective.model, recipe)
        self._done = 0
        self.rows: list[Row] = []

    @property
    def model(self) -> QFormer:
        """What is trained."""
        return self._objective.model

    @property
    def done(self) -> int:
        """Steps that lie behind."""
        return self._done

    def run(self, checkpoints: Checkpoints, every: int, on_step: OnStep) -> None:
        """Train from where it is to the last step; all workers call this together.

        Raises:
            UserError: a loss or a gradient is no longer a number.
        """
        objective = self._shared(self._objective)
        with closing(self._data.batches(self._done + 1, self._place.rank, self._place.world_size)) as batches:
            for step in range(self._done + 1, self._recipe.steps + 1):
                row = self._step(step, objective, batches)
                _check_finite(row, checkpoints.folder)
                self._update()
                self._keep(row, on_step)
                if self._place.rank == 0 and self._is_measured(step):
                    self._keep(self._measure(step), on_step)
                self._done = step
                if self._place.rank == 0 and (step % every == 0 or step == self._recipe.steps):
                    checkpoints.save(step, self._state())

    def _step(self, step: int, objective: nn.Module, batches: Iterator[Batch]) -> Row:
        """The gradients of a step, and what is told of it."""
        recipe, started = self._recipe, time.monotonic()
        rate = learning_rate(step, recipe)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        temperature = self.model.temperature.item()
        self._optimiser.zero_grad()
        parts = [self._accumulate(objective, next(batches), last=part == recipe.accumulate) for part in self._parts()]
        norm = nn.utils.clip_grad_norm_(objective.parameters(), math.inf)  # measures, and clips nothing
        return {
            "phase": "train",
            "step": step,
            "epoch": self._epoch(step),
            "lr": rate,
            "temperature": temperature,
            "images_per_second": recipe.batch_size / (time.monotonic() - started),
            **_told(parts, norm),
        }

    def _update(self) -> None:
        self._optimiser.step()
        self.model.clamp_temperature()

    def _parts(self) -> range:
        return range(1, self._recipe.accumulate + 1)

    def _accumulate(self, objective: nn.Module, batch: Batch, *, last: bool) -> Losses:
        """Add the gradients of a part of a step; workers exchange them with the last one."""
        torch.manual_seed(mix("dropout", self._recipe.seed, batch.number, self._place.rank))
        alone = isinstance(objective, DistributedDataParallel) and not last
        with objective.no_sync() if alone else nullcontext():  # type: ignore[operator]
            with autocast(self._recipe.dtype, self._place.device):
                losses: Losses = objective(batch)
            (losses.total / self._recipe.accumulate).backward()  # type: ignore[no-untyped-call]
        return Losses(*(loss.detach() for loss in losses))

    def _epoch(self, step: int) -> int:
        """The epoch, of the corpus as a whole, that a step's first image belongs to."""
        return (step - 1) * self._recipe.batch_size // self._data.images

    def _measure(self, step: int) -> Row:
        """Retrieval among the images that are kept back."""
        holdout = self._holdout = self._holdout or self._data.holdout()
        with autocast(self._recipe.dtype, self._place.device):
            similarity = compare(self.model, holdout.features, holdout.text)
        recall = recall_at_1(similarity, holdout.captions)
        return {
            "phase": "holdout",
            "step": step,
            "epoch": self._epoch(step),
            "images": len(holdout.captions),
            "r1_image_to_text": recall.image_to_text,
            "r1_text_to_image": recall.text_to_image,
            "chance": 1 / len(holdout.captions),
        }

    def _is_measured(self, step: int) -> bool:
        every = self._recipe.evaluate_every or self._recipe.steps
        return self._data.measures and (step % every == 0 or step == self._recipe.steps)

    def _keep(self, row: Row, on_step: OnStep) -> None:
        if self._place.rank == 0:
            self.rows.append(row)
            on_step(row)

    def _state(self) -> dict[str, Any]:
        model, optimiser = self.model.state_dict(), self._optimiser.state_dict()
        corpus = self._data.corpus_digest
        return {"step": self._done, "model": model, "optimiser": optimiser, "rows": self.rows, "corpus": corpus}

    def resume(self, checkpoints: Checkpoints) -> None:
        """Take up the newest checkpoint, the one that rank 0 sees: listings may differ for a moment.

        Raises:
            UserError: it was made on another corpus.
        """
        found = checkpoints.newest() if self._place.rank == 0 else None
        step = [found[0] if found else None]
        if self._place.world_size > 1:
            dist.broadcast_object_list(step)
        if step[0] is None:
            return
        state = found[1] if found else checkpoints.load(step[0])
        if state["corpus"] != self._data.corpus_digest:
            raise UserError(
                f"pretrain: the corpus is no longer the one that step {step[0]} was trained on, so that images would "
                f"come twice or never; to begin anew, remove {checkpoints.folder}"
            )
        self._done, self.rows = state["step"], state["rows"]
        self.model.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])

    def _shared(self, objective: Objective) -> nn.Module:
        """The objective as it is called; among several workers DDP averages the gradients."""
        if self._place.world_size == 1:
            return objective
        index = self._place.device.index
        return DistributedDataParallel(objective, device_ids=None if index is None else [index])


def _told(parts: list[Losses], norm: Tensor) -> Row:
    """The numbers of a step, the mean over its parts and the workers, in one transfer from the device."""
    losses = Losses(*(torch.stack(values).mean() for values in zip(*parts, strict=True)))
    values = mean(torch.stack([losses.total, losses.itc, losses.itm, losses.itg, losses.itm_accuracy, norm]))
    return dict(zip(JUDGED, values.tolist(), strict=True))


def _check_finite(row: Row, checkpoints: str) -> None:
    told = {name: row[name] for name in JUDGED}
    if all(map(math.isfinite, told.values())):
        return
    numbers = ", ".join(f"{name} {value:.4g}" for name, value in told.items())
    raise UserError(
        f"pretrain: step {row['step']} is no longer finite ({numbers}); nothing was updated, and the last good "
        f"checkpoints lie in {checkpoints}. Lower pretrain.lr or lengthen pretrain.warmup; with dtype float16 or "
        f"bfloat16 try float32"
    )
