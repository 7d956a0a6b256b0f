"""Who tells how far a training is: the first worker leaves word beside the checkpoints, every few seconds.

What is warned of meanwhile goes the same way, as a worker's own output is seen by nobody: what was drawn at random,
what it goes on from, images that cannot be decoded.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from stages.io.outages import hurry, reason
from stages.training.progress import Progress, write_progress
from stages.training.task import Row

logger = logging.getLogger(__name__)

EVERY = 5.0
"""Seconds between two words."""
MOST: Final = 50
"""Notes that are kept; beyond these the last one gives way to the next."""
STAGES: Final = "stages"
"""The logger above those of all stages."""


class Teller(logging.Handler):
    """Hears of every row and every warning. Safe to call from several threads."""

    def __init__(self, key: str, folder: str | None, clock: Callable[[], float] = time.monotonic) -> None:
        """Take the manifest's section, and a folder of checkpoints; without one it tells nobody."""
        super().__init__(logging.WARNING)
        self._key = key
        self._folder = folder
        self._clock = clock
        self._progress = Progress(f"{datetime.now(UTC).isoformat(timespec='seconds')} {uuid.uuid4().hex}")
        self._from = 0
        self._batch = 0
        self._started = self._told = -EVERY
        self._is_lost = False

    def begins(self, done: int, steps: int, batch_size: int) -> None:
        """The first step of this run begins.

        Args:
            done: steps that lie behind.
            steps: in all.
            batch_size: images of a step, over all workers.
        """
        self._from, self._batch, self._started = done, batch_size, self._clock()
        self._note(replace(self._progress, step=done, steps=steps))

    def __call__(self, row: Row) -> None:
        """A step is done, or something was measured."""
        if row["phase"] != "train":
            return
        done, seconds = row["step"] - self._from, self._clock() - self._started
        numbers = {"loss": row["loss"], "lr": row["lr"], "images": done * self._batch, "done": done}
        self._note(replace(self._progress, step=row["step"], seconds=seconds, **numbers))

    def emit(self, record: logging.LogRecord) -> None:
        """Something was warned of."""
        notes = self._progress.notes[: MOST - 1]
        self._note(replace(self._progress, notes=(*notes, record.getMessage())))

    def _note(self, progress: Progress) -> None:
        with _lock(self):
            self._progress = progress
            if self._clock() - self._told >= EVERY:
                self.tell()

    def tell(self) -> None:
        """Leave word; a training does not end because nobody can look on."""
        self._told, found = self._clock(), self._progress
        if self._folder is None:
            return
        logger.info("%s: step %d of %d, loss %s, lr %s", self._key, found.step, found.steps, found.loss, found.lr)
        try:
            with hurry():
                write_progress(self._folder, found)
        except Exception as error:  # noqa: BLE001 - every kind of storage has errors of its own
            if not self._is_lost:
                self._is_lost = True
                logger.warning("%s: nobody could be told how far it is: %s", self._key, reason(error))


@contextmanager
def telling(key: str, folder: str | None) -> Iterator[Teller]:
    """Tell of a training in the block; what it warns of goes nowhere else, unless somebody has set loggers up.

    Args:
        key: the manifest's section.
        folder: of checkpoints; None on workers that leave word to the first one.
    """
    teller, above = Teller(key, folder), logging.getLogger(STAGES)
    if folder is not None:
        above.addHandler(teller)
    try:
        yield teller
    finally:
        above.removeHandler(teller)
        teller.tell()


@contextmanager
def _lock(handler: logging.Handler) -> Iterator[None]:
    """What `emit` is called under."""
    handler.acquire()
    try:
        yield
    finally:
        handler.release()
