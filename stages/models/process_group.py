"""Joins the processes that train together into one process group of torch."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import torch
import torch.distributed as dist

PATIENCE: Final = timedelta(minutes=30)
"""How long a worker waits for the others in one exchange."""


def join(address: str, rank: int, world_size: int, *, gpus: bool) -> None:
    """Become one of a group, and wait for the others.

    Args:
        address: `host:port`, at which rank 0 listens.
        rank: this process's number.
        world_size: how many there are.
        gpus: whether tensors on GPUs are exchanged; this process then sees its own GPU alone.
    """
    if gpus:
        torch.cuda.set_device(0)
    backend = "nccl" if gpus else "gloo"
    dist.init_process_group(backend, f"tcp://{address}", rank=rank, world_size=world_size, timeout=PATIENCE)
