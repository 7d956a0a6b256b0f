"""How busy this process's GPUs are: the share of the time in which a kernel runs, as NVIDIA's driver counts it."""

from __future__ import annotations

import os
from functools import cache
from statistics import fmean
from threading import Event, Thread
from types import TracebackType
from typing import Any, Final

import pynvml

EVERY: Final = 0.5
"""Seconds between two looks; the driver's figure is about the last fraction of a second."""


class GpuWatch:
    """Looks at the GPUs while a block runs."""

    def __init__(self) -> None:
        self._shares: list[float] = []
        self._over = Event()
        self._thread = Thread(target=self._look, name="gpu-watch", daemon=True)

    def __enter__(self) -> GpuWatch:
        if visible_gpus():
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def share(self) -> float | None:
        """The mean share in [0, 1]; None without a GPU, or of a block that was over before the first look."""
        return fmean(self._shares) if self._shares else None

    def _look(self) -> None:
        while not self._over.wait(EVERY):
            self._shares.append(fmean(pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu / 100 for gpu in visible_gpus()))


@cache
def visible_gpus() -> tuple[Any, ...]:
    """NVML's handles of the GPUs that CUDA shows this process; empty where there is no driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no NVIDIA driver here
        return ()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return tuple(pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount()))
    return tuple(_handle(name.strip()) for name in named.split(",") if name.strip() not in ("", "-1", "NoDevFiles"))


def _handle(name: str) -> Any:
    return pynvml.nvmlDeviceGetHandleByIndex(int(name)) if name.isdigit() else pynvml.nvmlDeviceGetHandleByUUID(name)
