"""The training loop: plain torch, alone or as one of several workers of a process group.

What a step does follows from (recipe, corpus, step, rank): images, captions, wrong partners and dropout are drawn from
seeds made of those. A checkpoint therefore needs no generator and no position, and a training that was killed anywhere
goes on as if nothing had happened, to the last bit on a CPU.
"""

from __future__ import annotations

import logging
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
from stages.models.finite import NumberFormat
from stages.models.qformer.model import QFormer
from stages.pretrain.data import Data, Holdout
from stages.pretrain.objective import Batch, Losses, Objective
from stages.pretrain.retrieval import compare, recall_at_1
from stages.pretrain.schedule import learning_rate, make_optimiser
from stages.pretrain.spec import PretrainRecipe
from stages.training.checkpoints import Checkpoints
from stages.training.gather import mean
from stages.training.order import mix

logger = logging.getLogger(__name__)

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
            UserError: a loss or a gradient is not, or no longer, finite.
        """
        objective = self._shared(self._objective)
        with closing(self._data.batches(self._done + 1, self._place.rank, self._place.world_size)) as batches:
            for step in range(self._done + 1, self._recipe.steps + 1):
                row, sees = self._step(step, objective, batches)
                self._check_finite(row, sees, checkpoints.folder)
                self._update()
                self._keep(row, on_step)
                if self._place.rank == 0 and self._is_measured(step):
                    self._keep(self._measure(step), on_step)
                self._done = step
                if self._place.rank == 0 and (step % every == 0 or step == self._recipe.steps):
                    checkpoints.save(step, self._state())

    def _step(self, step: int, objective: nn.Module, batches: Iterator[Batch]) -> tuple[Row, bool]:
        """The gradients of a step, and what is told of it; and whether all features of its images were finite."""
        recipe, started = self._recipe, time.monotonic()
        rate = learning_rate(step, recipe)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        temperature = self.model.temperature.item()
        self._optimiser.zero_grad()
        parts, seen = [], []
        for part in range(1, recipe.accumulate + 1):
            batch = next(batches)
            seen.append(batch.features.isfinite().all())
            parts.append(self._accumulate(objective, batch, last=part == recipe.accumulate))
        norm = nn.utils.clip_grad_norm_(objective.parameters(), math.inf)  # measures, and clips nothing
        told, sees = _told(parts, norm, seen)
        row = {
            "phase": "train",
            "step": step,
            "epoch": self._epoch(step),
            "lr": rate,
            "temperature": temperature,
            "images_per_second": recipe.batch_size / (time.monotonic() - started),
            **told,
        }
        return row, sees

    def _update(self) -> None:
        self._optimiser.step()
        self.model.clamp_temperature()

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
        """Retrieval among the images that are kept back, as far as the frozen tower's numbers for them are finite."""
        holdout = self._holdout = self._holdout or self._data.holdout()
        with autocast(self._recipe.dtype, self._place.device):
            similarity = compare(self.model, holdout.features, holdout.text)
        seen = similarity.isfinite().all(dim=1).nonzero()[:, 0]
        captions = [holdout.captions[number] for number in seen.tolist()]
        if lost := len(holdout.captions) - len(captions):
            error = NumberFormat("pretrain", self._recipe.dtype).error
            logger.warning("%d held-out images are left out: their features are %s", lost, error)
        recall = recall_at_1(similarity[seen][:, seen], captions)
        return {
            "phase": "holdout",
            "step": step,
            "epoch": self._epoch(step),
            "images": len(captions),
            "r1_image_to_text": recall.image_to_text,
            "r1_text_to_image": recall.text_to_image,
            "chance": 1 / len(captions),
        }

    def _check_finite(self, row: Row, sees: bool, checkpoints: str) -> None:  # noqa: FBT001
        """See that a step's numbers are finite, or say what is to blame."""
        told, numbers = {name: row[name] for name in JUDGED}, NumberFormat("pretrain", self._recipe.dtype)
        if all(map(math.isfinite, told.values())):
            return
        shown = ", ".join(f"{name} {value:.4g}" for name, value in told.items())
        where, halved = f"pretrain: step {row['step']}", self._recipe.dtype == "bfloat16"
        if not sees:
            raise UserError(f"{where}: features of the image tower are {numbers.error} ({shown}); {numbers.advice}")
        if row["step"] == 1 and not all(weight.isfinite().all() for weight in self.model.parameters()):
            raise UserError(
                f"{where}: weights that it begins with are not finite ({shown}); name another pretrain.init"
            )
        raise UserError(
            f"{where} is no longer finite in {self._recipe.dtype} ({shown}); nothing was updated, and the last good "
            f"checkpoints lie in {checkpoints}. Lower pretrain.lr or lengthen pretrain.warmup"
            + (", or set pretrain.dtype to float32" if halved else "")
        )

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


def _told(parts: list[Losses], norm: Tensor, seen: list[Tensor]) -> tuple[Row, bool]:
    """The numbers of a step, the mean over its parts and the workers, and whether all of `seen` are true.

    In one transfer from the device.
    """
    losses = Losses(*(torch.stack(values).mean() for values in zip(*parts, strict=True)))
    sees = torch.stack(seen).float().mean()
    values = mean(torch.stack([losses.total, losses.itc, losses.itm, losses.itg, losses.itm_accuracy, norm, sees]))
    *judged, shares = values.tolist()
    return dict(zip(JUDGED, judged, strict=True)), shares == 1
