"""Workers that do a piece of work together, in a run with other stages: on Ray, with processes that form a group."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.execute.events import Event
from pipeline.execute.execution import Execution
from pipeline.execute.schedule import Schedule
from pipeline.execute.stop import Stopped
from pipeline.execute.task import Task
from pipeline.store import Store
from stages.contract import GroupRunOptions, RunOptions
from stages.errors import UserError
from tests.pipeline.stubs import StubRecipe, make_execution, make_graph, whole, with_last_stages

pytestmark = [pytest.mark.ray, pytest.mark.slow]
PAIR = GroupRunOptions(cpus=0.2, workers=2)


@pytest.fixture(scope="module", autouse=True)
def _ray(ray_home) -> Iterator[None]:
    from pipeline.execute.on_ray.cluster import ray_session

    with ray_session(None):
        yield


def execution_of(folder: Path, how: GroupRunOptions, **faults: str) -> Execution:
    learn = StubRecipe(faults=faults, folder=str(folder))
    graph = make_graph({"a": [3]}, RunOptions(cpus=0.1), ("urls", "select"))
    return make_execution(with_last_stages(graph, how, learn=learn), Store.open(str(folder / "out")))


def run(execution: Execution, react=lambda event: None) -> list[Event]:
    from pipeline.execute.on_ray.executor import RayRun

    events: list[Event] = []

    def listen(event: Event, _: Schedule) -> None:
        events.append(event)
        react(event)

    with execution.stop.listening():
        RayRun(execution, listen).run()
    return events


def ranks(execution: Execution, node: str) -> set[str]:
    (folder,) = Path(execution.jobs[node].folder).glob("checkpoints/*")
    return {path.name for path in folder.glob("*-*")}


def test_two_trainings_of_a_graph_are_each_done_by_a_group(tmp_path):
    execution = execution_of(tmp_path, PAIR)
    run(execution)
    assert execution.schedule.nodes["judge"].done == whole(execution.graph, "judge")
    assert ranks(execution, "learn") == ranks(execution, "judge") == {"2-0", "2-1"}


def test_a_group_has_its_room_when_others_have_gone_home(tmp_path):
    half = (os.cpu_count() or 1) / 2
    execution = execution_of(tmp_path, GroupRunOptions(cpus=half, workers=2))
    run(execution)
    assert execution.schedule.nodes["judge"].done == whole(execution.graph, "judge")


@pytest.mark.parametrize("fault", ["raise_once", "kill_once"])
def test_a_group_of_which_one_fails_is_formed_anew(tmp_path, fault):
    execution = execution_of(tmp_path, PAIR, group=fault)
    events = run(execution)
    (retried,) = (event for event in events if event.kind == "retried")
    assert ("group is bad" if fault == "raise_once" else "the worker died") in retried.error
    assert execution.schedule.nodes["judge"].done == whole(execution.graph, "judge")


def test_a_group_past_its_deadline_is_replaced(tmp_path):
    execution = execution_of(tmp_path, PAIR.model_copy(update={"deadline": 15.0}), group="hang_once")
    events = run(execution)
    assert [event.error for event in events if event.kind == "retried"] == [
        "longer than the deadline of 15 s (learn.run.deadline)"
    ]
    assert execution.schedule.nodes["judge"].done == whole(execution.graph, "judge")


def stop_at_learn(execution: Execution) -> None:
    """Run, and have SIGTERM come when the training begins."""

    def stop(event: Event) -> None:
        if event.kind == "started" and event.node == "learn":
            os.kill(os.getpid(), signal.SIGTERM)

    run(execution, stop)


def test_a_training_ends_at_the_first_signal_and_goes_on_with_the_next_run(tmp_path):
    execution = execution_of(tmp_path, PAIR, group="stop")
    stop_at_learn(execution)
    assert execution.stop.requested
    assert execution.schedule.nodes["learn"].ready
    assert not execution.retries.attempts(Task("learn", execution.graph.nodes["learn"].whole))
    again = make_execution(execution.graph, execution.store)
    run(again)
    assert again.schedule.nodes["judge"].done == whole(again.graph, "judge")


def test_a_training_that_does_not_end_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.execute.stop.GRACE", 2)
    execution = execution_of(tmp_path, PAIR, group="hang_once")
    with pytest.raises(Stopped) as stopped:
        stop_at_learn(execution)
    assert stopped.value.exit_code == 143
    assert not execution.schedule.nodes["learn"].done


def test_a_group_that_fits_nowhere_is_a_mistake(tmp_path):
    from pipeline.execute.on_ray.cluster import check_room

    execution = execution_of(tmp_path, GroupRunOptions(cpus=1, workers=64))
    with pytest.raises(
        UserError, match=r"^learn.run.workers: 64, but this machine has room for \d+; set less, or name"
    ):
        check_room(execution)
