"""Work on many things in threads, with few of them in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

HELD: Final = 2**28
"""Bytes of items that are in memory at a time, where they say how large they are."""


def side_by_side(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    threads: int,
    at_once: int,
    size: Callable[[Item], int] = lambda _: 0,
) -> Iterator[tuple[Item, Result]]:
    """Yield each item and what `work` makes of it, in their order.

    Args:
        work: called in the threads; what it raises is raised here.
        items: taken in this thread.
        threads: how many there are.
        at_once: items that are in memory at a time. (`Executor.map` would take all of them before the first is done.)
        size: the bytes of an item. None is taken while those taken hold `HELD` bytes or more.
    """
    taken: deque[tuple[Item, Future[Result]]] = deque()
    held = 0
    with ThreadPoolExecutor(threads, thread_name_prefix="side") as pool:
        try:
            for item in items:
                taken.append((item, pool.submit(work, item)))
                held += size(item)
                while taken and (len(taken) >= at_once or held >= HELD):
                    held -= size(taken[0][0])
                    yield _first(taken)
            while taken:
                yield _first(taken)
        finally:  # where it ends before its time
            for _, future in taken:
                future.cancel()


def _first(taken: deque[tuple[Item, Future[Result]]]) -> tuple[Item, Result]:
    item, future = taken.popleft()
    return item, future.result()
