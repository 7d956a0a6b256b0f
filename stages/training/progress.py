"""How far a training is: a small file beside its checkpoints, for whoever looks on from another process or host.

It needs no torch, so a driver can read it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Final

from stages.io.files import open_bytes, write_whole

PROGRESS: Final = "progress.json"
"""The file."""


@dataclass(frozen=True)
class Progress:
    """A training under way, since it was begun or taken up last."""

    began: str
    """When that was; no two times are alike."""
    step: int = 0
    """The last one that is done; 0 before there is one in this run."""
    steps: int = 0
    images: int = 0
    """Of all steps of this run."""
    done: int = 0
    """Steps of this run."""
    seconds: float = 0.0
    """Since its first step began."""
    loss: float | None = None
    lr: float | None = None
    notes: tuple[str, ...] = ()
    """What people should know of it."""

    @property
    def images_per_second(self) -> float | None:
        """Of this run; None before its first step is done."""
        return self.images / self.seconds if self.images and self.seconds else None

    @property
    def left(self) -> float | None:
        """Seconds to its end, at the pace so far; None before the first step of this run is done."""
        return (self.steps - self.step) * self.seconds / self.done if self.done else None


def write_progress(folder: str, progress: Progress) -> None:
    """Leave word in a folder of checkpoints."""
    write_whole(f"{folder}/{PROGRESS}", json.dumps(asdict(progress)).encode())


def read_progress(folder: str) -> Progress | None:
    """What was left there last; None if nothing was, or nothing that can be read."""
    try:
        with open_bytes(f"{folder}/{PROGRESS}") as file:
            found = Progress(**json.load(file))
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
        return None
    return replace(found, notes=tuple(found.notes))


def images_since(before: Progress | None, now: Progress | None) -> int | None:
    """The images that were trained on between two looks; None where nothing was ever trained."""
    if now is None:
        return None
    return 0 if before is not None and before.began == now.began else now.images
