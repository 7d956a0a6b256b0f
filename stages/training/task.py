"""What the loop is given: a model with its losses, its batches, and how it is measured."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Protocol

from torch import Tensor, nn
from torch.optim import Optimizer

from stages.contract import Dtype
from stages.training.place import Stretch

Row = dict[str, Any]
"""What is told of a step, or of a measurement: `phase` (`train` or `holdout`), `step` (from 1), and numbers by name."""


class Losses(Protocol):
    """What an objective returns: a named tuple of scalars."""

    @property
    def loss(self) -> Tensor:
        """The one whose gradient is followed."""
        ...

    def _asdict(self) -> dict[str, Tensor]: ...


class Task(Protocol):
    """What is trained, and on what."""

    key: str
    """The manifest's section, for messages."""
    dtype: Dtype
    """What is computed in; the weights stay float32."""
    seed: int
    steps: int
    """Updates in all."""
    batch_size: int
    """Images of a step, over all workers."""
    accumulate: int
    """Parts that a step is computed in."""
    evaluate_every: int | None
    """Steps between two measurements; None measures once, at the end."""
    objective: nn.Module
    """Called with a batch, on the device: `Losses`. What it keeps (its state) is what a checkpoint holds."""
    measures: bool
    """Whether anything is measured on what was held out."""

    def make_optimiser(self) -> Optimizer:
        """Over the parameters that are trained, at step 0."""
        ...

    def rate(self, step: int) -> float:
        """The learning rate of a step (from 1)."""
        ...

    def batches(self, stretch: Stretch) -> Generator[Any]:
        """A worker's batches of some steps, `accumulate` for every step."""
        ...

    def is_fed(self, batch: Any) -> Tensor:
        """Whether all numbers that come from frozen parts are finite; a bool scalar, on the device."""
        ...

    def told(self, step: int) -> Row:
        """What there is to tell of a step before it is made, beside losses and rate."""
        ...

    def settle(self) -> None:
        """What is to be done with the weights after each update."""
        ...

    def measure(self, step: int) -> Row:
        """What is measured after a step, on the first worker."""
        ...
