"""The training loop: plain torch, alone or as one of several workers of a process group.

What a step does follows from (recipe, corpus, step, rank): images, captions, wrong partners and dropout are drawn from
seeds made of those. A checkpoint therefore needs no generator and no position, and a training that was killed anywhere
goes on as if nothing had happened, to the last bit on a CPU. The number of workers changes which worker draws a
dropout mask, and with it the masks; nothing else.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from stages.errors import UserError
from stages.models.device import autocast
from stages.models.finite import NumberFormat
from stages.stopping import StoppedError, is_asked
from stages.training.checkpoints import Checkpoints, State
from stages.training.gather import mean
from stages.training.order import mix
from stages.training.place import Place, Stretch
from stages.training.task import Losses, Row, Task

logger = logging.getLogger(__name__)

OnStep = Callable[[Row], None]


class Training:
    """One worker's model, optimiser and history."""

    def __init__(self, task: Task, place: Place) -> None:
        self._task = task
        self._place = place
        self._objective = task.objective.to(place.device).train()
        self._optimiser = task.make_optimiser()
        self._done = 0
        self._best = -math.inf
        """The highest score of a measurement."""
        self._untold: list[Row] = []
        """Rows since the last checkpoint."""

    @property
    def done(self) -> int:
        """Steps that lie behind."""
        return self._done

    def run(self, checkpoints: Checkpoints, every: int, on_step: OnStep) -> None:
        """Train from where it is to the last step; all workers call this together.

        Raises:
            UserError: a loss or a gradient is not, or no longer, finite.
            StoppedError: somebody wants the process to end; the step that it was in is the last checkpoint's.
        """
        task, objective = self._task, self._shared(self._objective)
        stretch = Stretch(self._done + 1, task.steps, self._place.rank, self._place.world_size)
        with closing(task.batches(stretch)) as batches:
            for step in range(self._done + 1, task.steps + 1):
                row, is_fed, is_stopped = self._step(step, objective, batches)
                self._check_finite(row, is_fed, checkpoints.folder)
                self._optimiser.step()
                task.settle()
                self._keep(row, on_step)
                if self._place.rank == 0 and self._is_measured(step):
                    measured = {"phase": "holdout", "step": step, **task.measure(step)}
                    self._keep(measured, on_step)
                    self._keep_best(measured.get("score", -math.inf), checkpoints)
                self._done = step
                if self._place.rank == 0 and (is_stopped or step % every == 0 or step == task.steps):
                    checkpoints.save(step, self._state(), self._untold)
                    self._untold = []
                if is_stopped and step < task.steps:
                    self._stop()

    def _stop(self) -> NoReturn:
        said = f"{self._task.key}: stopped at step {self._done} of {self._task.steps}, where a checkpoint is left"
        if self._place.rank == 0:
            logger.warning("%s", said)
        raise StoppedError(said)

    def _step(self, step: int, objective: nn.Module, batches: Iterator[Any]) -> tuple[Row, bool, bool]:
        """The gradients of a step, and what is told of it; whether all that it was fed was finite, and it is the last.

        All workers hear of the end in the same step, whichever of them was asked to come to one.
        """
        task, started = self._task, time.monotonic()
        rate = task.rate(step)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        row = {"phase": "train", "step": step, "lr": rate, **task.told(step)}
        self._optimiser.zero_grad()
        parts, fed = [], []
        for part in range(1, task.accumulate + 1):
            batch, number = next(batches), (step - 1) * task.accumulate + part - 1
            fed.append(task.is_fed(batch))
            parts.append(self._accumulate(objective, batch, number, last=part == task.accumulate))
        norm = nn.utils.clip_grad_norm_(objective.parameters(), math.inf)  # measures, and clips nothing
        judged, is_fed, is_stopped = _told(parts, norm, fed, is_stopped=is_asked())
        pace = {"images_per_second": task.batch_size / (time.monotonic() - started)}
        return row | judged | pace, is_fed, is_stopped

    def _accumulate(self, objective: nn.Module, batch: Any, number: int, *, last: bool) -> dict[str, Tensor]:
        """Add the gradients of a part of a step, by its number; workers exchange them with the last one."""
        task = self._task
        torch.manual_seed(mix("dropout", task.seed, number, self._place.rank))
        alone = isinstance(objective, DistributedDataParallel) and not last
        with objective.no_sync() if alone else nullcontext():  # type: ignore[operator]
            with autocast(task.dtype, self._place.device):
                losses: Losses = objective(batch)
            (losses.loss / task.accumulate).backward()  # type: ignore[no-untyped-call]
        return {name: loss.detach() for name, loss in losses._asdict().items()}

    def _check_finite(self, row: Row, is_fed: bool, checkpoints: str) -> None:  # noqa: FBT001
        """See that a step's numbers are finite, or say what is to blame."""
        key, dtype = self._task.key, self._task.dtype
        told = {name: value for name, value in row.items() if isinstance(value, float)}
        if all(map(math.isfinite, told.values())):
            return
        numbers = NumberFormat(key, dtype)
        shown = ", ".join(f"{name} {value:.4g}" for name, value in told.items() if not math.isfinite(value))
        where = f"{key}: step {row['step']}"
        if not is_fed:
            raise UserError(f"{where}: features of the image tower are {numbers.error} ({shown}); {numbers.advice}")
        if row["step"] == 1 and not all(weight.isfinite().all() for weight in self._objective.parameters()):
            raise UserError(f"{where}: weights that it begins with are not finite ({shown}); name another {key}.init")
        raise UserError(
            f"{where} is no longer finite in {dtype} ({shown}); nothing was updated, and the last good "
            f"checkpoints lie in {checkpoints}. Lower {key}.lr or lengthen {key}.warmup"
            + (f", or set {key}.dtype to float32" if dtype == "bfloat16" else "")
        )

    def _is_measured(self, step: int) -> bool:
        every = self._task.evaluate_every or self._task.steps
        return self._task.measures and (step % every == 0 or step == self._task.steps)

    def _keep(self, row: Row, on_step: OnStep) -> None:
        if self._place.rank == 0:
            self._untold.append(row)
            on_step(row)

    def _keep_best(self, score: float, checkpoints: Checkpoints) -> None:
        if score > self._best:
            self._best = score
            checkpoints.save_best(self._objective.state_dict())

    def take_best(self, checkpoints: Checkpoints) -> None:
        """Go back to the weights that were measured best, where measurements have a score."""
        if self._best > -math.inf:
            self._objective.load_state_dict(checkpoints.best())

    def _state(self) -> dict[str, Any]:
        objective, optimiser = self._objective.state_dict(), self._optimiser.state_dict()
        return {"step": self._done, "model": objective, "optimiser": optimiser, "best": self._best}

    def resume(self, state: State) -> None:
        """Go on from a checkpoint."""
        self._done, self._best = state["step"], state["best"]
        self._objective.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])

    def _shared(self, objective: nn.Module) -> nn.Module:
        """The objective as it is called; among several workers DDP averages the gradients.

        Buffers are the same everywhere without being sent: what fills them is gathered from all workers.
        """
        if self._place.world_size == 1:
            return objective
        index = self._place.device.index
        devices = None if index is None else [index]
        return DistributedDataParallel(objective, device_ids=devices, broadcast_buffers=False)


def _told(
    parts: Sequence[Mapping[str, Tensor]], norm: Tensor, fed: list[Tensor], *, is_stopped: bool
) -> tuple[Row, bool, bool]:
    """The numbers of a step, the mean over its parts and the workers; whether all of `fed` are true, any is stopped.

    In one transfer from the device.
    """
    names = list(parts[0])
    losses = [torch.stack([part[name] for part in parts]).float().mean() for name in names]
    stopped = norm.new_full((), is_stopped, dtype=torch.float32)
    values = mean(torch.stack([*losses, norm.float(), torch.stack(fed).float().mean(), stopped]))
    *judged, shares, stops = values.tolist()
    return dict(zip([*names, "grad_norm"], judged, strict=True)), shares == 1, stops > 0
