"""Where a model computes: device, number format and CPU threads, from a stage's settings."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from stages.contract import Dtype
from stages.errors import UserError
from stages.words import first_line

_DTYPES: dict[Dtype, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def torch_dtype(dtype: Dtype) -> torch.dtype:
    """The number format as torch names it."""
    return _DTYPES[dtype]


def in_full(numbers: Tensor) -> Tensor:
    """In single precision at least: half is for products of matrices."""
    return numbers.to(torch.promote_types(numbers.dtype, torch.float32))


def autocast(dtype: Dtype, device: torch.device) -> AbstractContextManager[object]:
    """Where a Q-Former may compute in half: with bfloat16 the products of matrices, with other formats nothing."""
    return torch.autocast(device.type, torch.bfloat16) if dtype == "bfloat16" else nullcontext()


def resolve_device(name: str, key: str) -> torch.device:
    """`auto` to the worker's GPU where it has one; anything else as it stands, if it is there.

    Args:
        name: `auto`, or a torch device.
        key: the manifest key that holds the name, for the message.

    Raises:
        UserError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch raises each for some missing device
        why = first_line(error)
        raise UserError(f"{key}: no device '{name}' here ({why}); `auto` takes what there is") from None
    return device


def limit_threads(threads: int | None) -> None:
    """Let torch use that many CPU threads in this process; None leaves its choice."""
    if threads is not None:
        torch.set_num_threads(threads)
