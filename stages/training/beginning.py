"""What a training goes on from: its own newest checkpoint, or that of one whose images have hardly changed since.

A corpus changes between a crash and its resume: an image is forgotten, a few come by a retry. Its checkpoints then lie
in another folder, named by the rows that it read. A training of the same recipe goes on from there, in the order that
it began with, as long as little has changed; above that it begins anew.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from stages.io.files import is_there, locate, write_whole
from stages.training.checkpoints import BEST, Checkpoints, State
from stages.training.counting import Began
from stages.training.gather import from_first
from stages.training.lineage import inherit
from stages.training.place import Place
from stages.training.result import HISTORY

logger = logging.getLogger(__name__)

MOST_CHANGED: Final = 0.01
"""Share of the images that may have come or gone for an unfinished training to go on."""
BEGAN: Final = "began.json"
"""The file beside the checkpoints that says what the training began with."""


@dataclass(frozen=True)
class Beginning:
    """Where a training stands when it starts."""

    began: Began
    state: State | None
    """None at step 0."""


def find_beginning(checkpoints: Checkpoints, now: Began, key: str, place: Place) -> Beginning:
    """Find out, all workers together; the first one looks, as listings may differ for a moment.

    Args:
        checkpoints: those of this training.
        now: the images as they are.
        key: the manifest's section, for messages.
        place: which worker this is.
    """
    newest = _look(checkpoints, now, key) if place.rank == 0 else None
    step = from_first(newest[0] if newest else None)
    if step is not None:
        began = Began.from_json(checkpoints.read(BEGAN))
        return Beginning(began, newest[1] if newest else checkpoints.load(step))
    if place.rank == 0:
        write_whole(f"{checkpoints.folder}/{BEGAN}", now.as_json())
    return Beginning(now, None)


def _look(checkpoints: Checkpoints, now: Began, key: str) -> tuple[int, State] | None:
    """The newest checkpoint, its own or another's that is made its own."""
    if found := checkpoints.newest():
        return found
    for other in _others(checkpoints):
        began = Began.from_json(other.read(BEGAN))
        if not (newest := other.newest()):
            continue
        change = began.change(now)
        if change.share > MOST_CHANGED:
            what = f"more than {MOST_CHANGED:.0%}; beginning anew"
            logger.warning("%s: since step %d of a training before %s, %s", key, newest[0], change.words, what)
            continue
        what = "others of their shards stand in for those gone, and those new are not trained on"
        logger.warning("%s: going on from step %d, since when %s; %s", key, newest[0], change.words, what)
        best = (BEST,) if is_there(f"{other.folder}/{BEST}") else ()
        inherit(checkpoints.folder, other.folder)  # before it can learn anything from there
        checkpoints.adopt(other, newest[0], (BEGAN, *best))
        return newest
    return None


def _others(checkpoints: Checkpoints) -> Iterator[Checkpoints]:
    """Trainings of the same recipe on other rows that have not come to their end, the farthest first."""
    above = checkpoints.folder.rsplit("/", 1)[0]
    filesystem, path = locate(above)
    try:
        names = sorted(str(found).rstrip("/").rsplit("/", 1)[-1] for found in filesystem.ls(path, detail=False))
    except FileNotFoundError:
        return
    folders = [f"{above}/{name}" for name in names]
    others = [
        Checkpoints(folder, checkpoints.keep)
        for folder in folders
        if folder != checkpoints.folder and is_there(f"{folder}/{BEGAN}") and not is_there(f"{folder}/{HISTORY}")
    ]
    yield from sorted(others, key=lambda other: -other.farthest)
