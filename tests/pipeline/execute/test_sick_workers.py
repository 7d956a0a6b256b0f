"""A worker that fails at everything: it costs itself, and no shard; and a stage in which all do."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.dag.listing import done_folder
from pipeline.execute.events import Event
from pipeline.execute.execution import Execution
from pipeline.execute.local import run_locally
from pipeline.execute.task import Hand, Task
from pipeline.store import Store
from stages.contract import RunOptions
from stages.errors import UserError
from tests.pipeline.command import capfilt
from tests.pipeline.stubs import SICK, StubRecipe, make_execution, make_graph, part_names

FULL = "OSError: [Errno 28] No space left on device"


@pytest.fixture(scope="module")
def _ray(ray_home) -> Iterator[None]:
    from pipeline.execute.on_ray.cluster import ray_session

    with ray_session(None):
        yield


def execution_of(folder: Path, shards: int, actors: int, **faults: str) -> Execution:
    """A run whose captions are made by workers that may be sick."""
    recipe = StubRecipe(faults=faults, folder=str(folder), seconds=0.05)
    run = RunOptions(cpus=0.05, actors=actors)
    graph = make_graph({"a": [shards]}, run, ("urls", "caption", "select"), caption=recipe)
    return make_execution(graph, Store.open(str(folder / "out")))


def run_on_ray(execution: Execution) -> list[Event]:
    from pipeline.execute.on_ray.executor import RayRun

    events: list[Event] = []
    with execution.stop.listening():
        RayRun(execution, lambda event, _: events.append(event)).run()
    return events


@pytest.mark.ray
@pytest.mark.usefixtures("_ray")
@pytest.mark.slow
@pytest.mark.parametrize(("actors", "shards"), [(2, 12), (1, 4)])
def test_a_sick_worker_is_replaced_and_no_shard_is_given_up(tmp_path, actors, shards):
    execution = execution_of(tmp_path, shards, actors, **{SICK: "first"})
    events = run_on_ray(execution)
    assert len(execution.schedule.nodes["select/a"].done) == shards
    assert any(FULL in event.error for event in events if event.kind == "retried")
    assert not any(event.kind in {"failed", "stopped"} for event in events)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
def test_a_mistake_of_the_users_that_one_worker_alone_finds_is_that_workers(tmp_path):
    execution = execution_of(tmp_path, 8, 2, setup="user_error_first")
    run_on_ray(execution)
    assert len(execution.schedule.nodes["select/a"].done) == 8


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
@pytest.mark.parametrize(
    ("fault", "said"),
    [("raise", "none is well: ValueError: no kernel image"), ("kill", "its workers die before their first shard: ")],
)
def test_a_stage_that_no_worker_can_be_set_up_for_stops_and_the_others_go_on(tmp_path, monkeypatch, fault, said):
    monkeypatch.setattr("pipeline.execute.on_ray.pool.LONGEST_PAUSE", 0.1)
    execution = execution_of(tmp_path, 4, 2, setup=fault)
    (stopped,) = (event for event in run_on_ray(execution) if event.kind == "stopped")
    assert said in stopped.error
    assert len(execution.schedule.nodes["caption/a"].blocked) == 4


def test_a_users_mistake_in_a_shard_is_confirmed_by_another_worker_where_there_is_one(tmp_path):
    execution, kinds = execution_of(tmp_path, 2, 2), []
    task = Task("urls/a", part_names(execution.graph, "a")[0])
    one, two = Hand("one", "here"), Hand("two", "there")
    for by, other in ((one, two), (two, one)):
        assert execution.schedule.take("urls/a") == task
        mistake = UserError("2.txt: line 3 has one field")
        execution.failed(task, mistake, lambda event, _: kinds.append(event.kind), by=by, others=[other])
    assert kinds == ["retried", "failed"]


def stops_with_its_reason(execution: Execution, events: list[Event], shards: int) -> None:
    """Nothing is recorded against a shard, and what does not read the stage has gone on."""
    schedule, graph = execution.schedule, execution.graph
    (stopped,) = (event for event in events if event.kind == "stopped")
    assert stopped.trouble.startswith(
        "stopped caption: its workers fail one after the other, and none is well: " + FULL
    )
    assert len(schedule.nodes["caption/a"].blocked) == len(schedule.nodes["select/a"].blocked) == shards
    assert schedule.nodes["caption/a"].stopped in stopped.trouble
    assert not execution.store.failures(done_folder(graph.nodes["caption/a"], execution.store))
    assert schedule.is_finished


@pytest.mark.ray
@pytest.mark.usefixtures("_ray")
@pytest.mark.slow
def test_a_stage_whose_workers_all_fail_alike_stops_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.execute.on_ray.pool.LONGEST_PAUSE", 0.1)
    execution = execution_of(tmp_path, 40, 2, **{SICK: "all"})
    stops_with_its_reason(execution, run_on_ray(execution), 40)


def test_so_it_does_in_one_process(tmp_path):
    execution = execution_of(tmp_path, 40, 1, **{SICK: "all"})
    events: list[Event] = []
    run_locally(execution, lambda event, _: events.append(event))
    stops_with_its_reason(execution, events, 40)


def test_the_last_shards_have_their_attempts_and_their_own_errors(tmp_path):
    bad = {f"a-00000-{number:05d}": "raise" for number in range(4, 9)}
    execution = execution_of(tmp_path, 9, 1, **bad)
    run_locally(execution, lambda *_: None)
    failed = execution.schedule.nodes["caption/a"].failed
    assert failed == {shard: f"ValueError: {shard} is bad" for shard in bad}
    assert len(execution.schedule.nodes["select/a"].done) == 4


def test_the_command_says_at_its_end_which_stage_has_stopped_and_why(tmp_path, monkeypatch, capsys):
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("stages.download.compute.Download.__call__", fail)
    monkeypatch.chdir(tmp_path)
    rows = [f"http://127.0.0.1:1/{number}.jpg,text" for number in range(14)]
    Path("list.csv").write_text("\n".join(["URL,TEXT", *rows]) + "\n")
    Path("m.yaml").write_text("""\
output: out
sources: {web: {format: csv, path: list.csv}}
urls: {shard_size: 1}
caption: {model: nowhere/model}
rank: {model: nowhere/model}
select: {itm_threshold: null}
""")
    code, said, errors = capfilt(capsys, "run", "m.yaml", "--until", "download", "--executor", "local", "--json")
    reason = f"its workers fail one after the other, and none is well: {FULL}; the same command goes on"
    assert code == 1
    assert f"stopped download: {reason}" in errors
    outcome = json.loads(said)
    assert (outcome["stopped"], outcome["failed"]) == ({"download/web": reason}, [])
    assert len(outcome["blocked"]["download/web"]) == 14
