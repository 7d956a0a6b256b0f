"""Whose turn it is: the rows of a shard by host, so that no host holds up the others.

A host has a bounded number of requests under way, and hosts take turns. One that fails again and again is not asked any
more: the rest of its rows are refused at once. And nothing is begun after the shard's time is over.

So a shard's download ends within `shard_seconds + max_seconds` (and the decoding of what has come by then), whatever
its hosts do: no row is begun after the one, and none lasts longer than the other.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from stages.download.statuses import RefusedError


@dataclass
class _Host:
    waiting: deque[tuple[int, str]] = field(default_factory=deque)
    running: int = 0
    failures: int = 0
    """Consecutive ones."""
    last_words: str = ""


@dataclass(frozen=True)
class Turn:
    """A row that may be fetched now, or is refused."""

    row: int
    url: str
    refusal: RefusedError | None = None


class Hosts:
    """The rows that are left of a shard. Safe to call from several threads.

    Args:
        urls: the rows' addresses, each passed by `request_url`.
        threads: how many requests a host may have under way.
        failures: after so many failed rows in a row a host is not asked any more.
        seconds: the time within which a row may be begun.
    """

    def __init__(self, urls: Mapping[int, str], *, threads: int, failures: int, seconds: float) -> None:
        self._threads = threads
        self._failures = failures
        self._seconds = seconds
        self._end = time.monotonic() + seconds
        self._hosts: dict[str, _Host] = {}
        for row, url in urls.items():
            self._hosts.setdefault(_host(url), _Host()).waiting.append((row, url))
        self._ready = deque(self._hosts)  # hosts that have a row waiting and a request free, each once
        self._changed = threading.Condition()

    def take(self) -> Turn:
        """The next row; waits while all that are left are of busy hosts. To be called once per row."""
        with self._changed:
            while not self._ready:
                self._changed.wait()
            name = self._ready.popleft()
            host = self._hosts[name]
            row, url = host.waiting.popleft()
            host.running += 1
            self._offer(name)
            return Turn(row, url, self._refusal(name))

    def done(self, turn: Turn, failure: RefusedError | None) -> None:
        """Say how a row went. Answers of any kind show a host that is up; silence and lost connections do not."""
        name = _host(turn.url)
        with self._changed:
            host = self._hosts[name]
            was_full = host.running == self._threads
            host.running -= 1
            if failure is not None and failure.status in ("timeout", "connection"):
                host.failures += 1
                host.last_words = failure.words
            elif turn.refusal is None:
                host.failures = 0
            if was_full:
                self._offer(name)

    def _offer(self, name: str) -> None:
        host = self._hosts[name]
        if host.waiting and host.running < self._threads:
            self._ready.append(name)
            self._changed.notify()  # each time: of two rows that end at once only the first finds the host full

    def _refusal(self, name: str) -> RefusedError | None:
        host = self._hosts[name]
        if time.monotonic() > self._end:
            return RefusedError("timeout", f"not begun: the shard's {self._seconds:g} s were over")
        if host.failures >= self._failures:
            words = f"not asked: {name} failed {host.failures} times in a row, with: {host.last_words}"
            return RefusedError("host_down", words)
        return None


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2].lower()
