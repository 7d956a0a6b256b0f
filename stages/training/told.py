"""What a training says that nobody should find out by its results."""

from __future__ import annotations

import logging
from collections.abc import Iterable

logger = logging.getLogger(__name__)


def tell_drawn(key: str, names: Iterable[str]) -> None:
    """Say which parts of a model begin with numbers drawn at random.

    Args:
        key: the manifest's section.
        names: of weights, or of parts.
    """
    parts = sorted({".".join(name.split(".")[:2]) for name in names})
    logger.warning("%s: drawn at random: %s", key, ", ".join(parts) or "nothing")
