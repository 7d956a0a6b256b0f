"""What workers exchange in a step. Without a process group there is one worker, and everything stays as it is.

DDP averages the gradients of the workers' losses. Each worker's loss is a mean over its part of the batch, compared
with everybody's tensors, and gradients flow back through the gathering: then that average is the gradient of the whole
batch's loss, and the number of workers changes nothing but who computes what.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from stages.errors import UserError

T = TypeVar("T")


def is_alone() -> bool:
    """Whether there is one worker."""
    return not dist.is_initialized() or dist.get_world_size() == 1


def rank() -> int:
    """This worker's number."""
    return dist.get_rank() if dist.is_initialized() else 0


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


def fetch(part: Tensor, rows: Tensor) -> Tensor:
    """Rows of the whole batch by their numbers in it, without gradient; they alone travel between workers.

    Args:
        part: (batch, ...), this worker's.
        rows: (wanted,), int64, in [0, workers * batch); every worker wants as many.

    Returns:
        (wanted, ...).
    """
    if not dist.is_initialized():
        return part[rows]
    return _follow(part, _route(len(part), rows))


def fetch_with_gradient(part: Tensor, rows: Tensor) -> Tensor:
    """As `fetch`; a row's gradient is the sum of what all workers' losses ask of it."""
    if not dist.is_initialized():
        return part[rows]
    fetched: Tensor = _Fetch.apply(part, _route(len(part), rows))
    return fetched


def maximum(value: Tensor) -> Tensor:
    """The greatest of the workers' values."""
    value = value.clone()
    if dist.is_initialized():
        dist.all_reduce(value, dist.ReduceOp.MAX)
    return value


def everybodys(value: T) -> list[T]:
    """What each worker has, in the order of their ranks; plain Python values."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def from_first(value: T) -> T:
    """What the first worker has; plain Python values."""
    if not dist.is_initialized():
        return value
    values: list[Any] = [value]
    dist.broadcast_object_list(values)
    return cast("T", values[0])


def mean(value: Tensor) -> Tensor:
    """The mean over the workers, without gradient."""
    value = value.detach().clone()
    if dist.is_initialized():
        dist.all_reduce(value)
        value /= dist.get_world_size()
    return value


def all_or_none(make: Callable[[], T]) -> T:
    """What `make` returns, on every worker; nobody may wait for one that has given up.

    Raises:
        UserError: what the first worker that refused said, on all of them.
    """
    made, refusal = None, None
    try:
        made = make()
    except UserError as error:
        refusal = str(error)
    if said := next((said for said in everybodys(refusal) if said is not None), None):
        raise UserError(said)
    return cast("T", made)


class _Route(NamedTuple):
    """Which rows go where, and come from where, between workers."""

    given: Tensor
    """The places in this worker's part of the rows that others ask for, worker by worker; int64."""
    given_sizes: list[int]
    """How many go to each worker."""
    order: Tensor
    """Where what comes, worker by worker, belongs; int64."""
    taken_sizes: list[int]
    """How many come from each worker."""


def _route(batch: int, rows: Tensor) -> _Route:
    workers = dist.get_world_size()
    asked = gather(rows).view(workers, -1)  # by everybody
    given = [wanted[wanted // batch == rank()] - rank() * batch for wanted in asked]
    owner = rows // batch
    order = owner.argsort(stable=True)  # what comes is sorted by the worker that it comes from
    return _Route(torch.cat(given), list(map(len, given)), order, owner.bincount(minlength=workers).tolist())


def _follow(part: Tensor, route: _Route) -> Tensor:
    received = _exchange(part[route.given], route.given_sizes, route.taken_sizes)
    return torch.empty_like(received).index_copy_(0, route.order, received)


def _exchange(rows: Tensor, given_sizes: list[int], taken_sizes: list[int]) -> Tensor:
    received = rows.new_empty((sum(taken_sizes), *rows.shape[1:]))
    # gloo knows no bfloat16
    dist.all_to_all_single(_as_bytes(received), _as_bytes(rows), taken_sizes, given_sizes)
    return received


def _as_bytes(rows: Tensor) -> Tensor:
    return rows.flatten(1).view(torch.uint8)


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


class _Fetch(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, part: Tensor, route: _Route) -> Tensor:
        context.route, context.rows = route, len(part)
        return _follow(part, route)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        route = context.route
        returned = _exchange(gradient[route.order], route.taken_sizes, route.given_sizes)
        own = gradient.new_zeros((context.rows, *gradient.shape[1:]))
        return own.index_add_(0, route.given, returned), None
