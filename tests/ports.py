"""Ports of loopback for servers that are told theirs before they start."""

from __future__ import annotations

import random
import socket

OWN = range(20_000, 32_000)
"""Below those that the system hands out by itself, so that nothing else takes one before its server does."""


def free_port() -> int:
    """A port that nobody listens at."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at, each another one."""
    tried = random.SystemRandom().sample(OWN, len(OWN))
    found: list[int] = []
    while len(found) < count:
        port = tried.pop()
        with socket.socket() as server:
            if server.connect_ex(("127.0.0.1", port)):
                found.append(port)
    return found
