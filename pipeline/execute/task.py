"""What is worked on, and who works on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Task(NamedTuple):
    """One shard of one node. A tuple, for a run makes millions of them."""

    node: str
    shard: str


@dataclass(frozen=True)
class Hand:
    """One worker, and the host that it works on."""

    name: str
    host: str = ""


HERE = Hand("here")
"""The process that a run is driven from."""
