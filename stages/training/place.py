"""Which of the workers that train together this is, and which part of the work is its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch


@dataclass(frozen=True)
class Place:
    """Which worker this is."""

    rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


class Part(NamedTuple):
    """What one worker computes at once: its part of a step, or of one of the parts that a step is computed in."""

    number: int
    """Of the part among all parts of the training, from 0, the same for all workers."""
    rank: int
    workers: int
    size: int
    """Images over all workers."""

    @property
    def images(self) -> int:
        """Images of this worker."""
        return self.size // self.workers

    @property
    def first(self) -> int:
        """Where this worker's images begin in the part."""
        return self.rank * self.images

    @property
    def positions(self) -> range:
        """This worker's images, as positions in the order of all images."""
        start = self.number * self.size + self.first
        return range(start, start + self.images)


class Stretch(NamedTuple):
    """A worker's part of some steps."""

    first: int
    """The first step, from 1."""
    last: int
    rank: int
    workers: int
