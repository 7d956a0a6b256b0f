"""What workers exchange in a step. Without a process group there is one worker, and everything stays as it is.

DDP averages the gradients of the workers' losses. Each worker's loss is a mean over its part of the batch, compared
with everybody's tensors, and gradients flow back through the gathering: then that average is the gradient of the whole
batch's loss, and the number of workers changes nothing but who computes what.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def gather(part: Tensor) -> Tensor:
    """The workers' parts, in the order of their ranks, along the first dimension. All must have the same shape."""
    if not dist.is_initialized():
        return part
    parts = [torch.empty_like(part) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, part.contiguous())
    return torch.cat(parts)


def gather_with_gradient(part: Tensor) -> Tensor:
    """As `gather`; a part's gradient is the sum of what all workers' losses ask of it."""
    if not dist.is_initialized():
        return part
    gathered: Tensor = _Gather.apply(part)
    return gathered


def mean(value: Tensor) -> Tensor:
    """The mean over the workers, without gradient."""
    value = value.detach().clone()
    if dist.is_initialized():
        dist.all_reduce(value)
        value /= dist.get_world_size()
    return value


def first_refusal(refusal: str | None) -> str | None:
    """What the first worker that refuses says, to all of them: nobody may wait for one that has given up."""
    if not dist.is_initialized():
        return refusal
    refusals: list[str | None] = [None] * dist.get_world_size()
    dist.all_gather_object(refusals, refusal)
    return next((said for said in refusals if said is not None), None)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, part: Tensor) -> Tensor:
        context.rows = len(part)
        return gather(part)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        summed = gradient.contiguous()
        dist.all_reduce(summed)
        first = dist.get_rank() * context.rows
        return summed[first : first + context.rows]
