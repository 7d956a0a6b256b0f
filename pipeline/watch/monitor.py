"""What a run under way says of itself for `capfilt status` on any host: a small file, written anew now and then.

It goes when the run ends. One whose driver was killed stays, and its age says so; `capfilt clean` takes it.
"""

from __future__ import annotations

import os
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from threading import Event as Flag
from threading import Lock, Thread
from types import TracebackType
from typing import Any, Final

from pipeline.dag.graph import Graph
from pipeline.execute.events import Event, one_line
from pipeline.execute.schedule import Schedule
from pipeline.store import Store
from pipeline.watch.display import LiveDisplay, Meter, PlainDisplay, progress_of
from pipeline.watch.runs import end_run, record_run
from pipeline.watch.trainings import Trainings
from pipeline.watch.words import how_far
from stages.io.outages import hurry, may_pass

EVERY: Final = 10.0
"""Seconds between two writes."""
LOOK: Final = 2.0
"""Seconds between two looks at the trainings under way."""


class Busy:
    """How much of the time of each stage's workers goes into shards, and how busy their GPUs are then."""

    def __init__(self, workers: Mapping[str, int], clock: Callable[[], float] = time.monotonic) -> None:
        self._workers = workers
        self._clock = clock
        self._begun: dict[str, float] = {}
        self._under_way: dict[tuple[str, str], float] = {}
        self._seconds: dict[str, float] = defaultdict(float)
        self._gpu: dict[str, list[tuple[float, float]]] = defaultdict(list)

    def note(self, event: Event) -> None:
        """Take in an event."""
        stage, now, shard = event.node.split("/")[0], self._clock(), (event.node, event.shard)
        if event.kind == "started":
            self._begun.setdefault(stage, now)
            self._under_way[shard] = now
        elif shard in self._under_way:
            self._seconds[stage] += now - self._under_way.pop(shard)
        if event.report and event.report.gpu is not None:
            self._gpu[stage].append((event.report.gpu, event.report.seconds))

    def workers(self, stage: str) -> float | None:
        """The share, in [0, 1], of its workers' time since its first shard; None before that one."""
        if stage not in self._begun:
            return None
        now = self._clock()
        running = sum(now - since for (node, _), since in list(self._under_way.items()) if node.split("/")[0] == stage)
        whole = max(now - self._begun[stage], 1e-6) * self._workers[stage]
        return min((self._seconds[stage] + running) / whole, 1.0)

    def gpus(self, stage: str) -> float | None:
        """The share, in [0, 1], of the time of its finished shards with a kernel running; None without GPUs."""
        found = list(self._gpu[stage])
        seconds = sum(length for _, length in found)
        return sum(share * length for share, length in found) / seconds if seconds else None


class Monitor:
    """Hears of everything, writes the file, and passes everything on."""

    def __init__(self, store: Store, graph: Graph, schedule: Schedule, display: LiveDisplay | PlainDisplay) -> None:
        self._store = store
        self._schedule = schedule
        self._display = display
        self._meter = Meter()
        self._trainings = Trainings(store, graph)
        self._busy = Busy({node.step: node.run.actors for node in graph.nodes.values()})
        self._name = f"{socket.gethostname()}-{os.getpid()}"
        self._started = _now()
        self._told = False
        self._over = Flag()
        self._looking = Lock()
        self._thread = Thread(target=self._write_now_and_then, name="monitor", daemon=True)

    def __enter__(self) -> Monitor:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        self._try(self._look)
        self._try(lambda: end_run(self._store, self._name))

    def __call__(self, event: Event, schedule: Schedule) -> None:
        """Take note of an event, and pass it on."""
        self._meter.note(event)
        self._busy.note(event)
        if event.kind == "started":
            self._try(lambda: self._trainings.begin(event))
        elif self._trainings.is_over(event):
            self._try(self._look)
            self._trainings.end(event)
        self._display(event, schedule)

    def _write_now_and_then(self) -> None:
        written = time.monotonic()
        while not self._over.wait(min(LOOK, EVERY)):
            self._try(self._look)
            if time.monotonic() - written >= EVERY:
                written = time.monotonic()
                self._try(lambda: record_run(self._store, self._name, self.state()))

    def _look(self) -> None:
        with self._looking:
            for stage, progress in self._trainings.look():
                self._display.follow(stage, progress)

    def _try(self, look: Callable[[], None]) -> None:
        """A run does not end because nobody can look on."""
        try:
            with hurry():
                look()
        except Exception as error:  # noqa: BLE001 - every kind of storage has errors of its own
            if not self._told and not may_pass(error):  # else it is told as an outage
                self._display.say(f"'capfilt status' cannot be told how far this run is: {one_line(error)}")
                self._told = True

    def state(self) -> dict[str, Any]:
        """The file's content."""
        trainings = dict(self._trainings.latest)
        return {
            "host": socket.gethostname(),
            "process": os.getpid(),
            "started": self._started,
            "written": _now(),
            "stages": [
                {
                    "stage": stage,
                    "queued": progress.ready,
                    "running": progress.running,
                    "done": progress.done,
                    "failed": progress.failed,
                    "blocked": progress.blocked,
                    "total": progress.total,
                    "images_per_second": (
                        trainings[stage].images_per_second if stage in trainings else self._meter.rate(stage)
                    ),
                    "training": how_far(trainings[stage]) if stage in trainings else "",
                    "workers_busy": self._busy.workers(stage),
                    "gpus_busy": self._busy.gpus(stage),
                }
                for stage, progress in progress_of(self._schedule).items()
            ],
        }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
