"""The same runs through both executors, with the same assertions."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pyarrow.parquet as pq
import pytest

from pipeline.dag.graph import Graph
from pipeline.dag.listing import done_folder
from pipeline.dag.there import plan
from pipeline.execute.events import Event, Listener
from pipeline.execute.execution import Execution
from pipeline.execute.local import run_locally
from pipeline.execute.retries import LOST_WORKERS
from pipeline.execute.schedule import Schedule
from pipeline.execute.stop import Stopped
from pipeline.store import Store
from stages.contract import RunOptions
from stages.errors import UserError
from tests.pipeline.stubs import (
    SICK,
    StubRecipe,
    make_execution,
    make_graph,
    part_names,
    whole,
    with_compare,
    with_last_stages,
)

Run = Callable[[Execution, Callable[[Event, Schedule], None]], None]
SHORT = ("urls", "caption")
"""Stages of a run that show what is to be shown: on Ray, each costs a process."""


@pytest.fixture(params=["local", pytest.param("ray", marks=pytest.mark.ray)])
def run(request) -> Run:
    if request.param == "local":
        return run_locally
    return request.getfixturevalue("ray_run")


@pytest.fixture(scope="module")
def ray_run(ray_home, tmp_path_factory) -> Iterator[Run]:
    """It is started where somebody keeps programs of the same names."""
    from pipeline.execute.on_ray.cluster import ray_session
    from pipeline.execute.on_ray.executor import RayRun

    def run(execution: Execution, listener: Listener) -> None:
        with execution.stop.listening():
            RayRun(execution, listener).run()

    here = tmp_path_factory.mktemp("here")
    (here / "pipeline.py").write_text("raise ImportError('not this one')\n")
    (here / "stages").mkdir()
    (here / "stages" / "__init__.py").touch()
    with contextlib.chdir(here), ray_session(None):
        yield run


def execute(run: Run, graph: Graph, store: Store) -> tuple[Schedule, list[Event]]:
    execution = make_execution(graph, store)
    events: list[Event] = []
    run(execution, lambda event, _: events.append(event))
    return execution.schedule, events


def rows(graph: Graph, store: Store, name: str) -> dict[str, list[dict]]:
    folder = store.folder(graph.nodes[name].spec.name, graph.nodes[name].fingerprint)
    return {path.stem: pq.read_table(path).to_pylist() for path in sorted(Path(folder).glob("*.parquet"))}


def test_all_shards_of_all_sources_are_done_and_a_second_run_does_nothing(run, tmp_path):
    graph = make_graph({"a": [3, 1], "b": [2]}, caption=StubRecipe(value=1), rank=StubRecipe(value=10))
    store = Store.open(str(tmp_path))
    schedule, _ = execute(run, graph, store)
    assert schedule.is_finished
    found = rows(graph, store, "select/a")
    assert list(found) == ["a-00000-00000", "a-00000-00001", "a-00000-00002", "a-00001-00000"]
    # download 0, caption 0 + 1, rank 0 + 1 + 10, select 1 + 11
    assert {row["value"] for table in found.values() for row in table} == {12}
    assert len(rows(graph, store, "select/b")) == 2
    _, events = execute(run_locally, graph, store)
    assert events == []


def test_stages_that_read_all_shards_at_once_run_last_and_in_their_order(run, tmp_path):
    graph = make_graph({"a": [2, 1], "b": [1]}, stages=("urls", "select"), select=StubRecipe(value=1))
    graph = with_last_stages(graph, learn=StubRecipe(value=100), judge=StubRecipe(value=1000))
    store = Store.open(str(tmp_path))
    schedule, events = execute(run, graph, store)
    assert schedule.is_finished
    shards = ["a/a-00000-00000", "a/a-00000-00001", "a/a-00001-00000", "b/b-00000-00000"]
    assert rows(graph, store, "learn") == {graph.nodes["learn"].whole: [{"value": 4 + 100, "shards": shards}]}
    assert rows(graph, store, "judge") == {graph.nodes["judge"].whole: [{"value": 4 + 104 + 1000, "shards": shards}]}
    done = [event.node for event in events if event.kind == "done"]
    assert done[-2:] == ["learn", "judge"]
    assert execute(run_locally, graph, store)[1] == []


def test_every_shard_reads_what_was_found_out_about_its_whole_source(run, tmp_path):
    stages = ("urls", "download", "caption")
    graph = make_graph({"a": [2, 1], "b": [1]}, stages=stages, download=StubRecipe(value=1))
    graph = with_compare(graph, compare=StubRecipe(value=100))
    store = Store.open(str(tmp_path))
    schedule, _ = execute(run, graph, store)
    assert schedule.is_finished
    assert rows(graph, store, "compare/a") == {"all": [{"value": 3 + 100}]}
    assert rows(graph, store, "compare/b") == {"all": [{"value": 4 + 100}]}
    for source, shards, compared in (("a", 3, 103), ("b", 1, 104)):
        captions = rows(graph, store, f"caption/{source}")
        assert [{row["value"] for row in found} for found in captions.values()] == [{1 + compared}] * shards
    assert execute(run_locally, graph, store)[1] == []


def test_what_reads_a_result_that_failed_is_blocked(run, tmp_path):
    learn = StubRecipe(faults={"corpus": "raise"}, folder=str(tmp_path))
    graph = with_last_stages(make_graph({"a": [1]}, stages=("urls", "select")), learn=learn)
    schedule, _ = execute(run, graph, Store.open(str(tmp_path / "out")))
    assert schedule.nodes["learn"].failed == {graph.nodes["learn"].whole: "ValueError: corpus is bad"}
    assert schedule.nodes["judge"].blocked == whole(graph, "judge")
    assert (tmp_path / "corpus.attempts").read_text() == "xxx"


def test_a_bad_shard_is_retried_and_listed_and_the_rest_is_finished(run, tmp_path):
    faults = {"a-00000-00001": "raise", "a-00000-00002": "raise_once"}
    recipe = StubRecipe(faults=faults, folder=str(tmp_path))
    graph = make_graph({"a": [4]}, stages=("urls", "caption", "select"), caption=recipe)
    store = Store.open(str(tmp_path / "out"))
    schedule, events = execute(run, graph, store)
    assert schedule.nodes["caption/a"].failed == {"a-00000-00001": "ValueError: a-00000-00001 is bad"}
    assert schedule.nodes["select/a"].blocked == {"a-00000-00001"}
    assert len(rows(graph, store, "select/a")) == 3
    assert (tmp_path / "a-00000-00001.attempts").read_text() == "xxx"
    assert [event.kind for event in events if event.shard == "a-00000-00001" and event.error] == ["retried"] * 2 + [
        "failed"
    ]
    failures = store.failures(store.folder("caption", graph.nodes["caption/a"].fingerprint))
    assert failures["a-00000-00001"]["attempts"] == 3


def test_a_file_with_a_users_mistake_is_not_tried_again(run, tmp_path):
    recipe = StubRecipe(faults={"a-00001": "user_error"}, folder=str(tmp_path))
    graph = make_graph({"a": [1, 2]}, stages=("urls", "download"), urls=recipe)
    schedule, _ = execute(run, graph, Store.open(str(tmp_path / "out")))
    broken = part_names(graph, "a")[1]
    assert schedule.nodes["urls/a"].failed == {broken: "a-00001: line 3 has one field, it needs two"}
    assert (tmp_path / "a-00001.attempts").read_text() == "x"
    assert schedule.nodes["download/a"].blocked == {broken}
    assert schedule.nodes["download/a"].done == {"a-00000-00000"}


def test_a_file_that_cannot_be_cut_costs_itself_and_a_later_run_tries_it_again(tmp_path):
    faults = StubRecipe(faults={"a-00001": "user_error"}, folder=str(tmp_path))
    graph, store = with_last_stages(make_graph({"a": [1, 2, 1]}, urls=faults)), Store.open(str(tmp_path / "out"))
    schedule, _ = execute(run_locally, graph, store)
    good = ["a-00000-00000", "a-00002-00000"]
    assert list(rows(graph, store, "select/a")) == good
    assert schedule.nodes["learn"].blocked | schedule.nodes["judge"].blocked == whole(graph, "learn", "judge")
    plans = {found.node.name: found for found in plan(graph, store)}
    assert plans["urls/a"].missing == (part_names(graph, "a")[1],)
    assert plans["select/a"].is_done
    assert plans["learn"].reason == "blocked: it reads all shards at once, and 2.txt cannot be read"
    (failure,) = store.failures(done_folder(graph.nodes["urls/a"], store)).values()
    assert failure["error"] == "2.txt: a-00001: line 3 has one field, it needs two"

    before = rows(graph, store, "select/a")
    mended = with_last_stages(make_graph({"a": [1, 2, 1]}))
    schedule, events = execute(run_locally, mended, store)
    assert schedule.nodes["judge"].done == whole(mended, "judge")
    assert not store.failures(done_folder(graph.nodes["urls/a"], store))
    assert rows(mended, store, "select/a").items() >= before.items()
    assert not any(event.shard in good for event in events)


def test_a_source_of_which_no_file_can_be_cut_leaves_the_others_alone(tmp_path):
    faults = StubRecipe(faults={"a-00000": "user_error"}, folder=str(tmp_path))
    graph = with_last_stages(make_graph({"a": [1], "b": [2]}, urls=faults))
    schedule, _ = execute(run_locally, graph, Store.open(str(tmp_path / "out")))
    assert schedule.nodes["select/a"].blocked == set(part_names(graph, "a"))
    assert len(schedule.nodes["select/b"].done) == 2
    assert schedule.nodes["learn"].blocked == whole(graph, "learn")


def test_shards_of_a_file_that_is_broken_behind_them_do_not_stay(tmp_path):
    faults = StubRecipe(faults={"a-00000-00001": "user_error"}, folder=str(tmp_path))
    graph, store = make_graph({"a": [2]}, urls=faults), Store.open(str(tmp_path / "out"))
    execute(run_locally, graph, store)
    assert not rows(graph, store, "urls/a")


def test_a_stage_that_cannot_be_set_up_stops_the_run_with_the_reason(run, tmp_path):
    graph = make_graph({"a": [1]}, stages=SHORT, caption=StubRecipe(faults={"setup": "user_error"}))
    with pytest.raises(UserError, match=r"caption.model: no folder 'nowhere'"):
        execute(run, graph, Store.open(str(tmp_path)))


@pytest.mark.ray
def test_workers_find_nothing_where_the_user_stands(ray_run):
    import ray

    found = ray.get(ray.remote(lambda: [str(Path.cwd()), *sys.path]).remote())
    assert (Path(found[0]) / "pipeline.py").exists()
    assert not any((Path(folder) / "pipeline.py").exists() for folder in found[1:])


@pytest.mark.ray
def test_a_killed_worker_costs_its_shard_one_more_attempt(ray_run, tmp_path):
    recipe = StubRecipe(faults={"a-00000-00001": "kill_once"}, folder=str(tmp_path))
    graph = make_graph({"a": [6]}, stages=SHORT, caption=recipe)
    store = Store.open(str(tmp_path / "out"))
    schedule, events = execute(ray_run, graph, store)
    assert not schedule.nodes["caption/a"].failed
    assert len(rows(graph, store, "caption/a")) == 6
    retried = [event for event in events if event.kind == "retried"]
    assert [event.shard for event in retried] == ["a-00000-00001"]
    assert "the worker died" in retried[0].error


@pytest.mark.ray
def test_a_sick_worker_is_replaced_and_costs_no_shard_and_bad_ones_beside_it_are_told_apart(ray_run, tmp_path):
    bad = {"a-00000-00001": "raise", "a-00000-00006": "raise"}
    recipe = StubRecipe(faults={SICK: "first", **bad}, folder=str(tmp_path), seconds=0.02)
    graph = make_graph({"a": [10]}, RunOptions(cpus=0.1, actors=2), SHORT, caption=recipe)
    schedule, events = execute(ray_run, graph, Store.open(str(tmp_path / "out")))
    assert schedule.nodes["caption/a"].failed == {shard: f"ValueError: {shard} is bad" for shard in bad}
    assert len(schedule.nodes["caption/a"].done) == 8
    assert any("No space left on device" in event.error for event in events if event.kind == "retried")


@pytest.mark.ray
def test_a_shard_that_kills_every_worker_is_set_aside(ray_run, tmp_path):
    recipe = StubRecipe(faults={"a-00000-00001": "kill"}, folder=str(tmp_path))
    graph = make_graph({"a": [3]}, stages=SHORT, caption=recipe)
    store = Store.open(str(tmp_path / "out"))
    schedule, _ = execute(ray_run, graph, store)
    assert list(schedule.nodes["caption/a"].failed) == ["a-00000-00001"]
    assert (tmp_path / "a-00000-00001.attempts").read_text() == "x" * LOST_WORKERS
    assert len(rows(graph, store, "caption/a")) == 2


@pytest.mark.ray
def test_a_shard_past_its_deadline_is_tried_again_on_a_new_worker(ray_run, tmp_path):
    recipe = StubRecipe(faults={"a-00000-00000": "hang_once"}, folder=str(tmp_path))
    graph = make_graph({"a": [2]}, RunOptions(cpus=0.1, deadline=3), SHORT, caption=recipe)
    schedule, events = execute(ray_run, graph, Store.open(str(tmp_path / "out")))
    assert not schedule.nodes["caption/a"].failed
    assert [event.error for event in events if event.kind == "retried"] == [
        "longer than the deadline of 3 s (caption.run.deadline)"
    ]


@pytest.mark.ray
def test_a_stage_that_fits_nowhere_is_a_mistake(ray_run, tmp_path):
    from pipeline.execute.on_ray.cluster import check_room

    graph, store = make_graph({"a": [1]}, RunOptions(gpus=64)), Store.open(str(tmp_path))
    execution = make_execution(graph, store)
    with pytest.raises(UserError, match=r"^urls.run.gpus: 64, but this machine has 0; set less, or name a cluster"):
        check_room(execution)


@pytest.mark.ray
def test_pools_that_do_not_fit_side_by_side_run_one_after_the_other(ray_run, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.execute.on_ray.staff.STALLED", 0.5)
    monkeypatch.setattr("pipeline.execute.on_ray.executor.PATIENCE", 0.2)
    whole_machine = RunOptions(cpus=float(os.cpu_count() or 1))
    graph = make_graph({"a": [6]}, whole_machine, ("urls", "caption", "select"))
    store = Store.open(str(tmp_path))
    execute(ray_run, graph, store)
    assert len(rows(graph, store, "select/a")) == 6


def test_after_a_signal_shards_under_way_finish_and_none_is_begun(run, tmp_path):
    graph = make_graph({"a": [5]}, stages=("urls", "caption", "select"), caption=StubRecipe(seconds=0.2))
    store = Store.open(str(tmp_path))
    execution, started, after = make_execution(graph, store), [], []

    def listen(event: Event, schedule: Schedule) -> None:
        (after if execution.stop.requested else started).append((event.kind, event.node, event.shard))
        if event.kind == "started" and event.node == "caption/a" and not execution.stop.requested:
            os.kill(os.getpid(), signal.SIGTERM)

    run(execution, listen)
    assert execution.stop.requested
    assert not execution.schedule.is_finished
    assert {kind for kind, *_ in after} == {"done"}
    begun = [(node, shard) for kind, node, shard in started if kind == "started"]
    done = [(node, shard) for kind, node, shard in started + after if kind == "done"]
    assert sorted(begun) == sorted(done)
    assert all(not state.running for state in execution.schedule.nodes.values())
    assert execute(run, graph, store)[0].is_finished
    assert len(rows(graph, store, "select/a")) == 5


def test_a_second_signal_stops_at_once(run, tmp_path):
    graph = make_graph({"a": [2]}, stages=SHORT, caption=StubRecipe(seconds=60))
    execution = make_execution(graph, Store.open(str(tmp_path)))
    started = time.monotonic()

    def signal_twice() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        while not execution.stop.requested:  # two at once would be one
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    def listen(event: Event, schedule: Schedule) -> None:
        if event.kind == "started" and event.node == "caption/a":
            Thread(target=signal_twice).start()

    with pytest.raises(Stopped) as stopped:
        run(execution, listen)
    assert stopped.value.exit_code == 143
    assert time.monotonic() - started < 60


def test_what_does_not_finish_in_time_is_dropped(run, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.execute.stop.GRACE", 0.5)
    graph = make_graph({"a": [1]}, stages=SHORT, caption=StubRecipe(seconds=60))
    execution = make_execution(graph, Store.open(str(tmp_path)))

    def listen(event: Event, schedule: Schedule) -> None:
        if event.kind == "started" and event.node == "caption/a":
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped) as stopped:
        run(execution, listen)
    assert stopped.value.exit_code == 130
    assert rows(graph, execution.store, "caption/a") == {}
