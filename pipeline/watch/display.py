"""What a person sees of a run: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType

from rich.console import RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn
from rich.progress import Progress as Bars
from rich.table import Column, Table
from rich.text import Text
from typing_extensions import override

from pipeline.dag.graph import Graph
from pipeline.execute.events import Event
from pipeline.execute.schedule import NodeState, Schedule
from pipeline.watch.console import Console
from pipeline.watch.words import duration, how_far
from stages.training.progress import Progress as TrainingProgress

EVERY = 10.0
"""Seconds between plain progress lines of one stage."""
REMARKS = 20
"""Damaged files that are told one by one."""


@dataclass
class Progress:
    """One stage's progress, all sources together."""

    done: int = 0
    ready: int = 0
    """Shards that wait for a worker, their inputs being there."""
    running: int = 0
    failed: int = 0
    blocked: int = 0
    """Shards that cannot run because an input of theirs failed."""
    total: int | None = 0
    """None while a source has not been cut."""

    @property
    def left(self) -> int | None:
        """Shards still to be worked; None while a source has not been cut."""
        return None if self.total is None else self.total - self.done - self.failed - self.blocked


class Meter:
    """Images per second of every stage since its first shard of this run."""

    def __init__(self) -> None:
        self._started: dict[str, float] = {}
        self._images: dict[str, int] = defaultdict(int)
        self._shards: dict[str, int] = defaultdict(int)

    def note(self, event: Event) -> None:
        """Take in an event."""
        stage = event.node.split("/")[0]
        if event.kind == "started":
            self._started.setdefault(stage, time.monotonic())
        if event.report:
            self._images[stage] += event.report.images
            self._shards[stage] += 1

    def rate(self, stage: str) -> float | None:
        """Images per second; None before the first shard is done."""
        return self._images[stage] / self._elapsed(stage) if self._shards[stage] else None

    def remaining(self, stage: str, shards: int) -> float | None:
        """Seconds for `shards` more at this stage's pace so far; None before the first shard is done."""
        return shards * self._elapsed(stage) / self._shards[stage] if self._shards[stage] else None

    def _elapsed(self, stage: str) -> float:
        return max(time.monotonic() - self._started.get(stage, 0.0), 1e-6)


class Notes:
    """What trainings say that people should know, each thing once."""

    def __init__(self) -> None:
        self._told: set[tuple[str, str]] = set()

    def new(self, progress: TrainingProgress) -> list[str]:
        """What has not been told of this one."""
        found = [note for note in progress.notes if (progress.began, note) not in self._told]
        self._told.update((progress.began, note) for note in found)
        return found


class Remarks:
    """What is told of files that are damaged, for as many as a person will read."""

    def __init__(self) -> None:
        self._left = REMARKS

    def next(self, event: Event) -> str:
        """The line that an event is worth; "" for none."""
        if not event.remark or self._left < 0:
            return ""
        self._left -= 1
        return event.remark if self._left >= 0 else "more files are damaged; `capfilt status --json` lists them all"


def progress_of(schedule: Schedule) -> dict[str, Progress]:
    """Every stage's progress, in the order of the DAG."""
    stages: dict[str, Progress] = {}
    for name, state in schedule.nodes.items():
        _add(stages.setdefault(name.split("/")[0], Progress()), state)
    return stages


def _add(progress: Progress, state: NodeState) -> None:
    progress.done += len(state.done)
    progress.ready += len(state.ready)
    progress.running += len(state.running)
    progress.failed += len(state.failed)
    progress.blocked += len(state.blocked)
    progress.total = None if progress.total is None or state.total is None else progress.total + state.total


class _Cells(ProgressColumn):
    """A column of what there is to say of a stage at the moment."""

    def __init__(self, title: str, cell: Callable[[str], str | Text]) -> None:
        super().__init__(Column(title, justify="right", no_wrap=True))
        self._cell = cell

    @override
    def render(self, task: Task) -> str | Text:
        return self._cell(task.description)


class LiveDisplay(Bars):
    """A table that is redrawn in place, with a bar for each stage."""

    def __init__(self, console: Console, graph: Graph) -> None:
        self._meter = Meter()
        self._remarks = Remarks()
        self._notes = Notes()
        self._trainings: dict[str, TrainingProgress] = {}
        """By stage, how far those have come that train."""
        self._stages: dict[str, Progress] = {node.step: Progress(total=None) for node in graph.nodes.values()}
        super().__init__(
            TextColumn("{task.description}", markup=False, table_column=Column("stage", no_wrap=True)),
            MofNCompleteColumn(table_column=Column("shards", justify="right", no_wrap=True)),
            BarColumn(20, pulse_style="bar.back"),  # no pulse: a stage whose shards are not known yet waits
            _Cells("running", lambda stage: str(self._stages[stage].running or "")),
            _Cells("failed", lambda stage: Text(str(self._stages[stage].failed or ""), "red")),
            _Cells("images/s", self._rate),
            _Cells("left", self._left),
            console=console,
            refresh_per_second=4,
        )
        self._bars = {stage: self.add_task(stage, total=None) for stage in self._stages}

    def __call__(self, event: Event, schedule: Schedule) -> None:
        """Take in an event; what is amiss also leaves a line above the table."""
        self._meter.note(event)
        self._stages = progress_of(schedule)
        for stage, progress in self._stages.items():
            self.update(self._bars[stage], completed=progress.done, total=progress.total)
        if told := event.trouble or self._remarks.next(event):
            self.console.print(told, style="yellow")

    def follow(self, stage: str, progress: TrainingProgress) -> None:
        """Take in how far a training is; what people should know of it also leaves a line above the table."""
        self._trainings[stage] = progress
        for note in self._notes.new(progress):
            self.console.print(note, style="yellow", soft_wrap=True)

    def say(self, text: str) -> None:
        """A line above the table."""
        self.console.print(text)

    @override
    def get_renderables(self) -> Iterable[RenderableType]:
        """The table, and below it a line for every training under way."""
        yield from super().get_renderables()
        for stage, progress in list(self._trainings.items()):
            if self._stages[stage].running and progress.steps:
                yield Text(f"{stage}: {how_far(progress)}", no_wrap=True, overflow="ellipsis")

    @override
    def make_tasks_table(self, tasks: Iterable[Task]) -> Table:
        """The table, below a line that names its columns."""
        table = super().make_tasks_table(tasks)
        table.show_header, table.header_style = True, "dim"
        return table

    def _rate(self, stage: str) -> str:
        training = self._trainings.get(stage)
        rate = training.images_per_second if training else self._meter.rate(stage)
        return "" if rate is None else f"{rate:,.1f}"

    def _left(self, stage: str) -> str | Text:
        """The time that is left.

        Of our own, for rich measures between the first and the last shard that ended: after the first round of eight
        workers that would be seven shards within an instant.
        """
        progress = self._stages[stage]
        if progress.left is None:
            return ""
        if progress.left and stage in self._trainings:
            seconds = self._trainings[stage].left
            return "" if seconds is None else duration(seconds)
        if progress.left:
            seconds = self._meter.remaining(stage, progress.left)
            return "" if seconds is None else duration(seconds)
        return Text("done", "green") if progress.done == progress.total else Text("incomplete", "red")


class PlainDisplay:
    """A line when a stage starts, now and then while it runs, and when it is done."""

    def __init__(self, console: Console, graph: Graph) -> None:
        self._console = console
        self._meter = Meter()
        self._remarks = Remarks()
        self._notes = Notes()
        self._said: dict[str, float] = {}
        self._complete: set[str] = set()
        del graph

    def __enter__(self) -> PlainDisplay:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        return

    def __call__(self, event: Event, schedule: Schedule) -> None:
        """Take in an event."""
        self._meter.note(event)
        if event.trouble:
            self.say(event.trouble)
            return
        if remark := self._remarks.next(event):
            self.say(remark)
        stage = event.node.split("/")[0]
        progress, now = progress_of(schedule)[stage], time.monotonic()
        complete = progress.left == 0
        due = now - self._said.get(stage, -EVERY) >= EVERY
        if stage not in self._complete and (complete or due):
            self._said[stage] = now
            self._complete |= {stage} if complete else set()
            self.say(self._line(stage, progress))

    def follow(self, stage: str, progress: TrainingProgress) -> None:
        """Take in how far a training is."""
        for note in self._notes.new(progress):
            self.say(note)
        now = time.monotonic()
        if progress.done and now - self._said.get(stage, -EVERY) >= EVERY:
            self._said[stage] = now
            self.say(f"{stage}: {how_far(progress)}")

    def _line(self, stage: str, progress: Progress) -> str:
        total = "?" if progress.total is None else progress.total
        rate = self._meter.rate(stage)
        pace = "" if rate is None else f", {rate:,.1f} images/s"
        return f"{stage}: {progress.done} of {total} shards done{pace}"

    def say(self, text: str) -> None:
        """A line."""
        self._console.print(text, soft_wrap=True)


def make_display(console: Console, graph: Graph) -> LiveDisplay | PlainDisplay:
    """The display that fits where the output goes."""
    return LiveDisplay(console, graph) if console.is_terminal else PlainDisplay(console, graph)
