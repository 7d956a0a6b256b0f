"""Two processes beside that of the tests, which stay: what they import takes seconds."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch.distributed as dist

WORKERS = 2


@dataclass(frozen=True)
class Pair:
    """The two."""

    _pool: ProcessPoolExecutor
    _folder: Path

    def apart(self, function: Callable[..., Any], *arguments: object) -> Any:
        """What a function returns in one of them."""
        return self._pool.submit(function, *arguments).result()

    def together(self, function: Callable[..., Any], *arguments: object) -> list[Any]:
        """What a function that also gets its worker's rank returns in each of them, both in one process group."""
        meeting = self._folder / uuid.uuid4().hex
        ends = [self._pool.submit(_join, meeting, rank, function, arguments) for rank in range(WORKERS)]
        return [end.result() for end in ends]


@contextmanager
def running(folder: Path) -> Iterator[Pair]:
    """The two, while the block lasts; they meet in `folder`."""
    with ProcessPoolExecutor(WORKERS, get_context("spawn")) as pool:
        yield Pair(pool, folder)


def _join(meeting: Path, rank: int, function: Callable[..., Any], arguments: tuple[object, ...]) -> Any:
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=WORKERS)
    try:
        return function(rank, *arguments)
    finally:
        dist.destroy_process_group()
