"""Nodes that come late, nodes that go, and a cluster that has no room: on real Ray nodes, all on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from pipeline.execute.events import Event
from pipeline.execute.on_ray import staff
from pipeline.execute.on_ray.cluster import draining_nodes, ray_session
from pipeline.execute.on_ray.executor import RayRun
from pipeline.execute.schedule import Schedule
from pipeline.store import Store
from stages.contract import RunOptions
from tests.pipeline.stubs import GO, StubRecipe, make_execution, make_graph

pytestmark = pytest.mark.ray
HEALTH = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
"""A node that refuses connections for about a second is dead to the others; Ray waits for a quarter minute."""


@pytest.fixture(scope="module")
def head(ray_home) -> Iterator[Cluster]:
    """One node of one CPU."""
    options = {"num_cpus": 1, "include_dashboard": False, "_system_config": HEALTH}
    started = Cluster(initialize_head=True, head_node_args=options)
    try:
        with ray_session(started.address):
            yield started
    finally:
        started.shutdown()


@pytest.fixture
def cluster(head) -> Iterator[Cluster]:
    """The node alone; those that a test adds go after it."""
    yield head
    for node in list(head.worker_nodes):
        head.remove_node(node)
    ends = time.monotonic() + 60
    while sum(node["Alive"] for node in ray.nodes()) > 1:
        assert time.monotonic() < ends, "a node that was removed is still known as alive"
        time.sleep(0.1)


def execute(
    folder: Path, run: RunOptions, react: Callable[[Event, Schedule], None], shards: int, free: int
) -> list[Event]:
    """Run a chain of stubs, of whose captions the first `free` shards are made at once and all others wait.

    They wait for the file GO in the folder. `react` hears of every event.
    """
    names = [f"a-00000-{number:05d}" for number in range(shards)]
    recipe = StubRecipe(faults=dict.fromkeys(names[free:], "wait"), folder=str(folder))
    graph = make_graph({"a": [shards]}, RunOptions(cpus=0.1), ("urls", "caption"), caption=recipe)
    captions = graph.nodes["caption/a"]
    graph.nodes["caption/a"] = replace(captions, run=run)
    execution = make_execution(graph, Store.open(str(folder / "out")))
    events: list[Event] = []

    def listen(event: Event, schedule: Schedule) -> None:
        events.append(event)
        react(event, schedule)

    with execution.stop.listening():
        RayRun(execution, listen).run()
    assert execution.schedule.is_finished
    assert len(execution.schedule.nodes["caption/a"].done) == shards
    return events


def test_a_stage_that_fits_nowhere_says_so_and_begins_when_a_node_comes(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(staff, "ROOMLESS", 1.0)

    def react(event: Event, _: Schedule) -> None:
        if event.kind == "waiting" and event.node == "caption/a":
            cluster.add_node(num_cpus=2)

    events = execute(tmp_path, RunOptions(cpus=2), react, shards=4, free=4)
    (said,) = (event.trouble for event in events if event.kind == "waiting" and event.node == "caption/a")
    assert said == (
        "waiting caption/a: no worker yet, since each takes 2 CPUs of one node; "
        "the nodes have 1 CPUs and 0 GPUs, partly taken; it begins when one has room"
    )


def test_a_pool_grows_when_a_node_comes(cluster, tmp_path):
    most = {"before": 0, "after": 0}

    def react(event: Event, schedule: Schedule) -> None:
        when = "after" if len(cluster.list_all_nodes()) > 1 else "before"
        most[when] = max(most[when], len(schedule.nodes["caption/a"].running))
        if event.kind == "done" and event.node == "caption/a" and when == "before":
            cluster.add_node(num_cpus=2)
        if most["after"] == 4:
            (tmp_path / GO).touch()

    execute(tmp_path, RunOptions(cpus=0.6, actors=4), react, shards=8, free=1)
    assert most["before"] == 1
    assert most["after"] == 4


def test_the_shards_of_a_node_that_dies_go_to_the_others(cluster, tmp_path):
    other = cluster.add_node(num_cpus=2)
    gone = False

    def react(event: Event, schedule: Schedule) -> None:
        nonlocal gone
        if not gone and len(schedule.nodes["caption/a"].running) > 1:
            gone = True
            cluster.remove_node(other, allow_graceful=False)
            (tmp_path / GO).touch()

    events = execute(tmp_path, RunOptions(cpus=0.6, actors=4), react, shards=4, free=0)
    assert gone
    assert any(event.kind == "retried" and event.node == "caption/a" for event in events)


@pytest.mark.slow
def test_a_node_that_is_drained_gets_no_new_shards(cluster, tmp_path):
    other = cluster.add_node(num_cpus=2)
    recipe = StubRecipe(seconds=0.05)
    graph = make_graph({"a": [20]}, RunOptions(cpus=0.6, actors=3), ("urls", "caption"), caption=recipe)
    execution = make_execution(graph, Store.open(str(tmp_path / "out")))
    hosts: list[tuple[str, bool]] = []
    drained: list[str] = []

    def listen(event: Event, schedule: Schedule) -> None:
        if event.kind == "started" and event.node == "caption/a":
            calls = run._staff.calls.values()
            (host,) = (call.worker.hand.host for call in calls if call.task and call.task.shard == event.shard)
            hosts.append((host, bool(drained)))
        if (
            not drained
            and any(host == other.node_id for host, _ in hosts)
            and len(schedule.nodes["caption/a"].done) > 2
        ):
            drain(cluster, other.node_id)
            drained.append(other.node_id)

    run = RayRun(execution, listen)
    with execution.stop.listening():
        run.run()
    assert drained
    assert len(execution.schedule.nodes["caption/a"].done) == 20
    after = [host for host, late in hosts if late]
    # of the round in which it was told, one more per worker may have been on its way
    assert other.node_id not in after[3:]
    assert after


def drain(cluster: Cluster, node: str) -> None:
    """Tell Ray that a node will be gone in an hour."""
    from ray._raylet import GcsClient
    from ray.core.generated.autoscaler_pb2 import DrainNodeReason

    ends = int(1000 * (time.time() + 3600))
    preempted = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    accepted, why = GcsClient(address=cluster.address).drain_node(node, preempted, "it is wanted", ends)
    assert accepted, why
    while node not in draining_nodes():
        time.sleep(0.05)
