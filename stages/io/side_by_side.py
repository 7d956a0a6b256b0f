"""Work on many things in threads, with few of them in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(
    work: Callable[[Item], Result], items: Iterable[Item], *, threads: int, at_once: int
) -> Iterator[tuple[Item, Result]]:
    """Yield each item and what `work` makes of it, in their order.

    Args:
        work: called in the threads; what it raises is raised here.
        items: taken in this thread.
        threads: how many there are.
        at_once: items that are in memory at a time. (`Executor.map` over all of them would take all before the first.)
    """
    left = iter(items)
    with ThreadPoolExecutor(threads, thread_name_prefix="side") as pool:
        while batch := list(islice(left, at_once)):
            yield from zip(batch, pool.map(work, batch), strict=True)
