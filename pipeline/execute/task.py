"""What is worked on, and who works on it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """One shard of one node."""

    node: str
    shard: str


@dataclass(frozen=True)
class Hand:
    """One worker, and the host that it works on."""

    name: str
    host: str = ""


HERE = Hand("here")
"""The process that a run is driven from."""
