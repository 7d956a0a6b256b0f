"""An iterator that works ahead of its reader, in a thread of its own and never further than it is told."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from queue import Full, Queue
from typing import Generic, TypeVar

T = TypeVar("T")

_CHECK = 0.1  # seconds after which a thread that waits for room looks whether its reader has gone


def in_background(items: Iterator[T], depth: int) -> Generator[T, None, None]:
    """Yield the items while the next ones are being made, at most `depth` of them waiting.

    What making them raises is raised here. A reader that stops early stops the thread.
    """
    ahead = _Ahead(items, depth)
    thread = threading.Thread(target=ahead.make, name="feed", daemon=True)
    thread.start()
    try:
        yield from ahead.read()
    finally:
        ahead.reader_gone.set()
        thread.join()


class _End:
    """The last thing in the queue: the items are used up, or making one failed."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class _Ahead(Generic[T]):
    def __init__(self, items: Iterator[T], depth: int) -> None:
        self.items = items
        self.waiting: Queue[T | _End] = Queue(maxsize=depth)
        self.reader_gone = threading.Event()

    def make(self) -> None:
        """Runs in the thread."""
        try:
            for item in self.items:
                if not self._put(item):
                    return
        except BaseException as error:  # noqa: BLE001 - nothing is swallowed: the reader raises it
            self._put(_End(error))
        else:
            self._put(_End(None))

    def read(self) -> Iterator[T]:
        while not isinstance(item := self.waiting.get(), _End):
            yield item
        if item.error is not None:
            raise item.error

    def _put(self, item: T | _End) -> bool:
        """Wait for room. False if the reader went away meanwhile."""
        while not self.reader_gone.is_set():
            try:
                self.waiting.put(item, timeout=_CHECK)
            except Full:
                continue
            return True
        return False
