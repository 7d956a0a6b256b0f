"""What the table of a run shows in a terminal, and the lines that stand for it elsewhere."""

from __future__ import annotations

import io
import re
import time
from types import SimpleNamespace
from typing import cast

import pytest

from pipeline.dag.graph import Graph
from pipeline.execute.events import Event
from pipeline.execute.job import Report
from pipeline.execute.schedule import NodeState, Schedule
from pipeline.watch.console import Console
from pipeline.watch.display import LiveDisplay, make_display
from pipeline.watch.words import how_far
from stages.training.progress import Progress as TrainingProgress

NODES = {
    "urls/web": NodeState(done={"web-0", "web-1"}, total=2),
    "download/web": NodeState(done={"web-0"}, failed={"web-1": "OSError: full"}, total=2),
    "download/human": NodeState(done={"human-0"}, running={"human-1"}, total=2),
    "caption/web": NodeState(done={"web-0"}, blocked={"web-1"}, total=2),
    "select/web": NodeState(total=None),
}
SHOWN = {
    "urls": ["2/2", "━" * 20, "done"],
    "download": ["2/4", "━" * 10, "1", "1", "8.0", "5", "s"],
    "caption": ["1/2", "━" * 10, "incomplete"],
    "select": ["0/?", "━" * 20],
}


def schedule() -> Schedule:
    found = Schedule(Graph({}), [])
    found.nodes.update(NODES)
    return found


def test_every_stage_has_a_line_of_bars_and_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    printed = io.StringIO()
    console = Console(file=printed, width=80, force_terminal=True, color_system=None)
    nodes = {name: SimpleNamespace(step=name.split("/")[0]) for name in NODES}
    display = make_display(console, cast("Graph", SimpleNamespace(nodes=nodes)))
    assert isinstance(display, LiveDisplay)
    display(Event("started", "download/web", "web-0"), schedule())
    clock[0] += 5
    display(Event("done", "download/web", "web-0", report=Report(rows=40, seconds=1.0)), schedule())
    display(Event("failed", "download/web", "web-1", error="OSError: full"), schedule())
    console.print(display)
    said, titles, *lines = printed.getvalue().splitlines()
    assert said == "failed download/web web-1: OSError: full"
    assert titles.split() == ["stage", "shards", "running", "failed", "images/s", "left"]
    assert {line.split()[0]: line.split()[1:] for line in lines} == SHOWN


def training(step: int, *notes: str) -> TrainingProgress:
    done = step - 100
    return TrainingProgress("now", step, 500, 64 * done, done, 2.5 * done, 2.31234, 3e-4, notes)


def test_how_far_a_training_is() -> None:
    assert how_far(training(120)) == "step 120 of 500, loss 2.31, lr 0.0003, 26 images/s, 15 min 50 s left"
    assert how_far(TrainingProgress("now", 100, 1500)) == "step 100 of 1,500"


def test_a_training_has_a_line_below_the_table_and_its_own_pace() -> None:
    printed = io.StringIO()
    console = Console(file=printed, width=100, force_terminal=True, color_system=None)
    nodes = {name: SimpleNamespace(step=name.split("/")[0]) for name in [*NODES, "learn"]}
    display = make_display(console, cast("Graph", SimpleNamespace(nodes=nodes)))
    under_way = schedule()
    under_way.nodes["learn"] = NodeState(running={"0"}, total=1)
    display(Event("started", "learn", "0"), under_way)
    for step in (120, 121):
        display.follow("learn", training(step, "learn: drawn at random: heads"))
    console.print(display)
    said, _, *lines, last = printed.getvalue().splitlines()
    assert said == "learn: drawn at random: heads"
    assert lines[-1].split() == ["learn", "0/1", "1", "25.6", "15", "min", "48", "s"]
    assert last.rstrip() == "learn: step 121 of 500, loss 2.31, lr 0.0003, 26 images/s, 15 min 48 s left"


def test_without_a_terminal_a_training_is_told_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, printed = [100.0], io.StringIO()
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with make_display(Console(file=printed, width=80), Graph({})) as display:
        for step in range(101, 110):
            display.follow("learn", training(step, "learn: drawn at random: heads"))
            clock[0] += 3
    note, *lines = printed.getvalue().splitlines()
    assert note == "learn: drawn at random: heads"
    assert [line.split(",")[0] for line in lines] == [f"learn: step {step} of 500" for step in (101, 105, 109)]


def test_without_a_terminal_there_are_plain_lines() -> None:
    printed = io.StringIO()
    with make_display(Console(file=printed, width=80), Graph({})) as display:
        display(Event("done", "urls/web", "web-1", report=Report(rows=40, seconds=1.0)), schedule())
        display(Event("failed", "download/web", "web-1", error="OSError: full"), schedule())
    first, second = printed.getvalue().splitlines()
    assert re.fullmatch(r"urls: 2 of 2 shards done, [\d,.]+ images/s", first)
    assert second == "failed download/web web-1: OSError: full"
