"""BLIP as the `.pth` file that its own code, and LAVIS, load."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Final

import torch

from stages.models.blip.description import Description
from stages.models.blip.names import State, complete

DESCRIPTION: Final = "description"
"""Beside `model`: what the weights are of, for those of other sizes than the published ones. BLIP's code takes no
notice of it."""


def write_pth(state: State, description: Description, path: Path) -> None:
    """Write `{"model": weights}`, tied weights under every name, as BLIP's trainers do.

    Args:
        state: weights under published names; slow copies, queues and the temperature are written where they are there.
        description: what they are of.
        path: the file.
    """
    with path.open("wb") as file:  # by its name the file would say where it was written
        torch.save({"model": complete(state), DESCRIPTION: asdict(description)}, file)
