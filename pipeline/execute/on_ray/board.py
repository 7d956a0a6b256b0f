"""What driver and workers tell one another while these are in the middle of a shard, in the store of Ray's head.

A worker that waits for storage has a key there, which the driver looks at now and then. And the driver has one that
asks trainings to leave a checkpoint and end, which these look at.
"""

from __future__ import annotations

import time
from typing import Final

import ray
from ray.experimental import internal_kv

from stages.io.outages import over, told

NAMESPACE: Final = b"capfilt"
EVERY: Final = 1.0
"""Seconds between two looks."""


def _prefix() -> str:
    return f"waits-{ray.get_runtime_context().get_job_id()}-"


class Notice:
    """A worker's own key. What storage is in trouble with is written there, and erased by ""."""

    def __init__(self, worker: str) -> None:
        self._key = f"{_prefix()}{worker}".encode()

    def __call__(self, trouble: str) -> None:
        """Say it, or take it back."""
        if trouble:
            internal_kv._internal_kv_put(self._key, trouble.encode(), overwrite=True, namespace=NAMESPACE)
        else:
            internal_kv._internal_kv_del(self._key, namespace=NAMESPACE)


class Board:
    """All keys, as the driver sees them."""

    def __init__(self) -> None:
        self._prefix = _prefix()
        self._looked = time.monotonic()
        self.waiting: dict[str, float] = {}
        """Since when each worker waits, on `time.monotonic`'s clock."""
        self.passed = 0.0
        """Seconds between the latest two looks."""

    def look(self) -> None:
        """Look again, if it is time, and tell what is new."""
        self.passed = (now := time.monotonic()) - self._looked
        if self.passed < EVERY:
            self.passed = 0.0
            return
        self._looked = now
        keys = internal_kv._internal_kv_list(self._prefix.encode(), namespace=NAMESPACE)
        names = {key.decode().removeprefix(self._prefix): key for key in keys}
        for name in set(self.waiting).difference(names):
            over(name)
        for name in set(names).difference(self.waiting):
            told((internal_kv._internal_kv_get(names[name], namespace=NAMESPACE) or b"").decode(), name)
        self.waiting = {name: self.waiting.get(name, now) for name in names}

    def erase(self, worker: str) -> None:
        """The worker is gone."""
        if self.waiting.pop(worker, None):
            over(worker)
            internal_kv._internal_kv_del(f"{self._prefix}{worker}".encode(), namespace=NAMESPACE)


def _sign() -> bytes:
    """The key of this driver's run."""
    return f"stop-{ray.get_runtime_context().get_job_id()}".encode()


def put_up() -> None:
    """Ask all workers of this run to leave what they can go on from, and end."""
    internal_kv._internal_kv_put(_sign(), b"1", overwrite=True, namespace=NAMESPACE)


def take_down() -> None:
    """Ask no more."""
    internal_kv._internal_kv_del(_sign(), namespace=NAMESPACE)


class Sign:
    """The key as a worker sees it, who looks now and then."""

    def __init__(self) -> None:
        self._key = _sign()
        self._looked = -EVERY
        self._is_up = False

    def __call__(self) -> bool:
        """Whether it is there."""
        if not self._is_up and (now := time.monotonic()) - self._looked >= EVERY:
            self._looked = now
            self._is_up = bool(internal_kv._internal_kv_exists(self._key, namespace=NAMESPACE))
        return self._is_up
