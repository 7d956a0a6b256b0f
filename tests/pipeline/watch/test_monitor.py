"""What `capfilt status` says of a run under way."""

from __future__ import annotations

import io
import json
import os
import re
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest
from rich.console import Console

from pipeline.dag.graph import Graph
from pipeline.dag.lineage import checkpoints_at
from pipeline.execute import gpu
from pipeline.execute.events import Event
from pipeline.execute.gpu import GpuWatch, visible_gpus
from pipeline.execute.job import Report
from pipeline.execute.task import Task
from pipeline.store import Store
from pipeline.upkeep.clean import clean
from pipeline.watch import monitor
from pipeline.watch.monitor import Busy, Monitor
from pipeline.watch.report import print_runs
from pipeline.watch.runs import record_run, runs
from stages.training.progress import Progress, write_progress
from tests.pipeline.execute.test_schedule import fresh, shards_of
from tests.pipeline.stubs import make_graph, with_last_stages


class Screen:
    """A display that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.events: list[Event] = []
        self.followed: list[tuple[str, Progress]] = []

    def __call__(self, event, schedule) -> None:
        self.events.append(event)

    def say(self, text: str) -> None:
        self.said.append(text)

    def follow(self, stage: str, progress: Progress) -> None:
        self.followed.append((stage, progress))


@pytest.fixture(autouse=True)
def often(monkeypatch) -> None:
    monkeypatch.setattr(monitor, "EVERY", 0.05)


def wait_for(condition) -> None:
    ends = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.02)


def test_a_run_is_seen_while_it_lasts(tmp_path):
    store, screen = Store.open(str(tmp_path)), Screen()
    graph = make_graph({"a": [3]})
    schedule = fresh(graph)
    with Monitor(store, graph, schedule, screen) as running:
        schedule.succeeded(schedule.take("urls/a"))
        schedule.cut("a", shards_of(graph, "a"))
        done, under_way = schedule.take("download/a"), schedule.take("download/a")
        for task in (done, under_way):
            running(Event("started", task.node, task.shard), schedule)
        schedule.succeeded(done)
        running(Event("done", done.node, done.shard, Report(7, 2.0, {"urls": 7}, gpu=0.25)), schedule)
        wait_for(lambda: any(run["stages"][1]["done"] == 1 for run in runs(store)))
        (run,) = runs(store)
        assert run["process"] == os.getpid()
        stages = {row["stage"]: row for row in run["stages"]}
        counts = ("queued", "running", "done", "failed", "blocked", "total")
        assert [stages["download"][name] for name in counts] == [1, 1, 1, 0, 0, 3]
        assert [stages["caption"][name] for name in counts] == [1, 0, 0, 0, 0, 3]
        assert stages["download"]["gpus_busy"] == 0.25
        assert 0 < stages["download"]["workers_busy"] <= 1
        assert stages["download"]["images_per_second"] > 0
        assert stages["caption"]["workers_busy"] is stages["caption"]["gpus_busy"] is None
    assert runs(store) == []
    assert [event.kind for event in screen.events] == ["started", "started", "done"]
    assert screen.said == []


def test_a_training_is_followed_and_what_an_earlier_run_left_is_not(tmp_path):
    store, screen = Store.open(str(tmp_path)), Screen()
    graph = with_last_stages(make_graph({"a": [1]}))
    node, schedule = graph.nodes["learn"], fresh(graph)
    place = checkpoints_at(store.folder_of(node), node.data)
    write_progress(place, Progress("before", 3, 9, notes=("old",)))
    schedule.nodes["learn"].running.add(node.data)
    with Monitor(store, graph, schedule, screen) as running:
        running(Event("started", "learn", node.data), schedule)
        time.sleep(0.2)
        assert screen.followed == []
        write_progress(place, Progress("now", 4, 9, 32, 1, 2.0, 0.5, 0.1))
        wait_for(lambda: screen.followed)
        wait_for(lambda: any(row["training"] for run in runs(store) for row in run["stages"]))
        (row,) = (row for row in runs(store)[0]["stages"] if row["stage"] == "learn")
        assert row["training"] == "step 4 of 9, loss 0.5, lr 0.1, 16 images/s, 10 s left"
        assert row["images_per_second"] == 16
        printed = io.StringIO()
        print_runs(Console(file=printed, width=120), runs(store))
        assert f"learn: {row['training']}" in printed.getvalue()
        write_progress(place, Progress("now", 9, 9, 192, 6, 12.0, 0.5, 0.1, ("the last word",)))
        running(Event("done", "learn", node.data, Report(9, 12.0, trained=192)), schedule)
        assert screen.followed[-1][1].notes == ("the last word",)
        assert running.state()["stages"][-2]["images_per_second"] > 16
    assert {stage for stage, _ in screen.followed} == {"learn"}
    assert screen.said == []


def test_storage_that_fails_is_told_once_and_ends_no_run(tmp_path):
    (tmp_path / "runs").write_text("a file where a folder should be")
    screen, graph = Screen(), make_graph({"a": [1]})
    with Monitor(Store.open(str(tmp_path)), graph, fresh(graph), screen):
        wait_for(lambda: screen.said)
        time.sleep(0.2)
    (said,) = screen.said
    assert said.startswith("'capfilt status' cannot be told how far this run is: ")


def test_two_steps_of_one_stage_are_told_apart(tmp_path):
    graph = make_graph({"a": [1]})
    second = replace(graph.nodes["caption/a"], step="second")
    graph = Graph({**graph.nodes, second.name: second})
    schedule = fresh(graph)
    schedule.succeeded(schedule.take("urls/a"))
    schedule.cut("a", shards_of(graph, "a"))
    running = Monitor(Store.open(str(tmp_path)), graph, schedule, Screen())
    running(Event("started", "second/a", "a-00000-00000"), schedule)
    stages = {row["stage"]: row for row in running.state()["stages"]}
    assert (stages["second"]["total"], stages["caption"]["total"]) == (1, 1)
    assert stages["second"]["workers_busy"] is not None
    assert stages["caption"]["workers_busy"] is None


def test_the_share_of_the_workers_time():
    now = [100.0]
    busy = Busy({"caption": 2}, clock=lambda: now[0])
    assert busy.workers("caption") is None
    busy.note(Event("started", "caption/a", "1"))
    now[0] += 4
    assert busy.workers("caption") == pytest.approx(0.5)  # one of two
    busy.note(Event("started", "caption/b", "1"))
    now[0] += 4
    busy.note(Event("done", "caption/a", "1", Report(1, 8.0, gpu=0.9)))
    busy.note(Event("failed", "caption/b", "1", error="bad"))
    assert busy.workers("caption") == pytest.approx((8 + 4) / 16)
    now[0] += 8
    assert busy.workers("caption") == pytest.approx(12 / 32)
    busy.note(Event("started", "caption/a", "2"))
    now[0] += 2
    busy.note(Event("done", "caption/a", "2", Report(1, 2.0, gpu=0.4)))
    assert busy.gpus("caption") == pytest.approx((0.9 * 8 + 0.4 * 2) / 10)


def test_status_tells_a_run_from_one_that_may_have_been_killed(tmp_path, monkeypatch):
    store, graph = Store.open(str(tmp_path)), make_graph({"a": [2]})
    schedule = fresh(graph)
    schedule.failed(Task("urls/a", schedule.take("urls/a").shard), "bad")
    state = Monitor(store, graph, schedule, Screen()).state()
    record_run(store, "host-1", state)
    old = {**state, "written": "2026-01-01T00:00:00+00:00"}
    printed = io.StringIO()
    print_runs(Console(file=printed, width=120), [*runs(store), old])
    first, *rows = printed.getvalue().splitlines()
    assert re.search(r"as of \d s ago$", first)
    assert any(row.split() == ["urls", "0/1", "1"] for row in rows)
    assert "it may have been killed" in printed.getvalue()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert clean(store, older_than=timedelta(hours=1), keep=None, dry_run=False).strays == []
    os.utime(tmp_path / "runs/host-1.json", (0, 0))
    assert clean(store, older_than=timedelta(hours=1), keep=None, dry_run=False).strays == [
        str(tmp_path / "runs/host-1.json")
    ]
    assert not Path(tmp_path, "runs/host-1.json").exists()
    json.dumps(state)


class Driver:
    """Two GPUs, as NVML shows them."""

    busy = {0: 40, 1: 80}  # noqa: RUF012
    names = {"GPU-aa": 0, "GPU-bb": 1}  # noqa: RUF012


@pytest.fixture
def driver(monkeypatch) -> None:
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 2)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: index)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", Driver.names.__getitem__)
    monkeypatch.setattr(
        pynvml, "nvmlDeviceGetUtilizationRates", lambda handle: SimpleNamespace(gpu=Driver.busy[handle])
    )
    monkeypatch.setattr(gpu, "EVERY", 0.01)
    visible_gpus.cache_clear()
    yield
    visible_gpus.cache_clear()


@pytest.mark.parametrize(
    ("visible", "share"), [(None, 0.6), ("0", 0.4), ("GPU-bb", 0.8), ("0,GPU-bb", 0.6), ("", None), ("-1", None)]
)
def test_the_gpus_that_are_watched_are_those_of_the_process(driver, monkeypatch, visible, share):
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with GpuWatch() as watch:
        time.sleep(0.2)
    assert watch.share == (None if share is None else pytest.approx(share))


def test_without_a_driver_nothing_is_watched(monkeypatch):
    def fail() -> None:
        raise pynvml.NVMLError_LibraryNotFound

    monkeypatch.setattr(pynvml, "nvmlInit", fail)
    visible_gpus.cache_clear()
    with GpuWatch() as watch:
        pass
    visible_gpus.cache_clear()
    assert watch.share is None
