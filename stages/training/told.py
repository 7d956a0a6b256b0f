"""What a training says that nobody should find out by its results."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from stages.training.counting import Size

logger = logging.getLogger(__name__)


def tell_drawn(key: str, names: Iterable[str]) -> None:
    """Say which parts of a model begin with numbers drawn at random.

    Args:
        key: the manifest's section.
        names: of weights, or of parts.
    """
    parts = sorted({".".join(name.split(".")[:2]) for name in names})
    logger.warning("%s: drawn at random: %s", key, ", ".join(parts) or "nothing")


def tell_left_out(key: str, size: Size) -> None:
    """Say how many images are not trained on that somebody may think are.

    Args:
        key: the manifest's section.
        size: all images that it was given.
    """
    told = []
    if size.measured:
        told.append(f"{size.measured:,} image(s) whose bytes are in a source that is measured on")
    if size.wordless:
        told.append(f"{size.wordless:,} image(s) whose captions say nothing")
    if told:
        logger.warning("%s: left out: %s", key, ", ".join(told))
