"""Whether somebody wants this process to end: what lasts for long asks, and leaves what it can go on from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


class StoppedError(Exception):
    """What was under way has ended, as somebody wanted; what it has done is kept, and goes on with the next run."""


@dataclass
class _Listening:
    """Whom this process asks."""

    asked: Callable[[], bool] | None = None


_LISTENING = _Listening()


def listen(asked: Callable[[], bool] | None) -> None:
    """From now on `asked` knows; None: nobody will want it."""
    _LISTENING.asked = asked


def is_asked() -> bool:
    """Whether somebody does."""
    return _LISTENING.asked is not None and _LISTENING.asked()
