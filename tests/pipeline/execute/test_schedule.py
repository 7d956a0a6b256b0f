"""The schedule against a straightforward simulation: every shard once, inputs first, failures contained."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from pipeline.dag.graph import Graph
from pipeline.dag.plan import NodePlan
from pipeline.execute.schedule import Schedule
from pipeline.execute.task import Task
from tests.pipeline.stubs import make_graph, whole, with_compare, with_last_stages


def fresh(graph: Graph) -> Schedule:
    plans = [
        NodePlan(
            node, tuple(part.name for part in node.parts) if node.spec.name == "urls" else None, frozenset(), "new"
        )
        for node in graph.nodes.values()
    ]
    return Schedule(graph, plans)


def shards_of(graph: Graph, source: str) -> list[str]:
    parts = graph.nodes[f"urls/{source}"].parts
    return [f"{part.file}-{index:05d}" for part in parts for index in range(int(part.files[0].split(".")[0]))]


def drain(graph: Graph, schedule: Schedule, rng: random.Random, bad: set[Task], limit: int | None = None) -> list[Task]:
    """Work everything in a random order; a task in `bad` always fails."""
    order, running = [], []
    limits = dict.fromkeys(graph.nodes, limit) if limit else None
    while not schedule.is_finished:
        names = list(graph.nodes)
        rng.shuffle(names)
        running += [task for name in names if (task := schedule.take(name, limit=limits))]
        assert running, "nothing runs, and yet it is not finished"
        task = running.pop(rng.randrange(len(running)))
        if task in bad:
            schedule.failed(task, "bad")
            continue
        order.append(task)
        schedule.succeeded(task)
        source = graph.nodes[task.node].source
        if task.node.startswith("urls/") and schedule.nodes[task.node].is_finished and source:
            schedule.cut(source, shards_of(graph, source))
    return order


@given(
    st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=3), min_size=1, max_size=3),
    st.randoms(use_true_random=False),
    st.sampled_from([None, 1, 2]),
)
def test_every_shard_runs_once_and_after_its_inputs(counts, rng, limit):
    graph = make_graph({f"s{index}": files for index, files in enumerate(counts)})
    order = drain(graph, fresh(graph), rng, set(), limit)
    assert len(set(order)) == len(order)
    expected = {
        Task(name, shard)
        for name, node in graph.nodes.items()
        if node.spec.name != "urls"
        for shard in shards_of(graph, str(node.source))
    }
    assert {task for task in order if not task.node.startswith("urls/")} == expected
    position = {task: index for index, task in enumerate(order)}
    for task in expected:
        for before in graph.nodes[task.node].inputs:
            if not before.startswith("urls/"):
                assert position[Task(before, task.shard)] < position[task]


@given(st.randoms(use_true_random=False), st.integers(0, 5))
def test_a_bad_shard_fails_alone(rng, which):
    graph = make_graph({"a": [3, 3], "b": [2]})
    shard = shards_of(graph, "a")[which]
    schedule = fresh(graph)
    drain(graph, schedule, rng, {Task("caption/a", shard)})
    assert schedule.nodes["caption/a"].failed == {shard: "bad"}
    assert schedule.nodes["rank/a"].blocked == schedule.nodes["select/a"].blocked == {shard}
    assert len(schedule.nodes["select/a"].done) == 5
    assert len(schedule.nodes["select/b"].done) == 2


def test_a_stage_waits_while_the_next_ones_queue_is_full():
    graph = make_graph({"a": [5]})
    schedule = fresh(graph)
    task = schedule.take("urls/a")
    schedule.succeeded(task)
    schedule.cut("a", shards_of(graph, "a"))
    limit = {"caption/a": 2}
    for _ in range(2):
        schedule.succeeded(schedule.take("download/a", limit=limit))
    assert schedule.take("download/a", limit=limit) is None
    schedule.take("caption/a", limit=limit)
    assert schedule.take("download/a", limit=limit) is not None


def test_a_shard_that_is_tried_again_runs_twice_and_holds_nothing_back():
    graph = make_graph({"a": [2]})
    schedule = fresh(graph)
    schedule.succeeded(schedule.take("urls/a"))
    schedule.cut("a", shards_of(graph, "a"))
    task = schedule.take("download/a")
    schedule.again(task)
    assert schedule.take("download/a") == Task("download/a", "a-00000-00001")
    assert schedule.take("download/a", fits=lambda found: found != task) is None
    assert schedule.take("download/a") == task


def test_a_stage_that_stops_blocks_what_is_left_of_it_and_what_reads_that():
    graph = with_last_stages(make_graph({"a": [3]}))
    schedule = fresh(graph)
    schedule.succeeded(schedule.take("urls/a"))
    schedule.cut("a", shards_of(graph, "a"))
    for _ in range(2):
        schedule.succeeded(schedule.take("download/a"))
    under_way = schedule.take("caption/a")
    schedule.stop("caption/a", "its disk is full")
    assert schedule.nodes["caption/a"].blocked == set(shards_of(graph, "a")) - {under_way.shard}
    schedule.again(under_way)
    assert schedule.nodes["select/a"].blocked == schedule.nodes["caption/a"].blocked == set(shards_of(graph, "a"))
    assert schedule.nodes["judge"].blocked == whole(graph, "judge")
    drain(graph, schedule, random.Random(0), set())
    assert len(schedule.nodes["download/a"].done) == 3


def test_a_stage_that_has_stopped_begins_no_shard_of_a_source_that_is_cut_later():
    graph = make_graph({"a": [2]})
    schedule = fresh(graph)
    schedule.stop("caption/a", "its disk is full")
    drain(graph, schedule, random.Random(0), set())
    assert len(schedule.nodes["download/a"].done) == 2
    assert schedule.nodes["rank/a"].blocked == set(shards_of(graph, "a"))


def test_a_source_that_cannot_be_cut_blocks_what_reads_it_only():
    graph = make_graph({"a": [1], "b": [1]})
    schedule = fresh(graph)
    schedule.failed(schedule.take("urls/a"), "bad")
    schedule.cut("a", [], ["a-00000"])
    drain(graph, schedule, random.Random(0), set())
    assert schedule.nodes["select/a"].blocked == {"a-00000"}
    assert len(schedule.nodes["select/b"].done) == 1


@given(st.randoms(use_true_random=False), st.booleans())
def test_what_reads_all_shards_at_once_waits_for_every_source_or_is_blocked(rng, well):
    graph = with_last_stages(make_graph({"a": [2], "b": [3]}))
    schedule = fresh(graph)
    bad = set() if well else {Task("caption/b", shards_of(graph, "b")[1])}
    order = drain(graph, schedule, rng, bad)
    last = [task.node for task in order if task.node in {"learn", "judge"}]
    assert last == (["learn", "judge"] if well else [])
    if well:
        assert [task.node for task in order[-2:]] == ["learn", "judge"]
    else:
        assert schedule.nodes["learn"].blocked | schedule.nodes["judge"].blocked == whole(graph, "learn", "judge")


@given(st.randoms(use_true_random=False), st.sampled_from([None, 1, 2]))
def test_what_compares_a_source_waits_for_it_and_those_above_and_every_shard_for_it(rng, limit):
    graph = with_compare(make_graph({"a": [2, 1], "b": [3]}))
    order = drain(graph, fresh(graph), rng, set(), limit)
    at = {task: index for index, task in enumerate(order)}
    for source, above in (("a", "a"), ("b", "ab")):
        compared = at[Task(f"compare/{source}", "all")]
        assert all(at[Task(f"download/{of}", shard)] < compared for of in above for shard in shards_of(graph, of))
        assert all(compared < at[Task(f"caption/{source}", shard)] for shard in shards_of(graph, source))
    assert len(order) == len(set(order))
    assert sum(not task.node.startswith("urls/") for task in order) == 6 * 4 + 2


@given(st.randoms(use_true_random=False), st.integers(0, 2))
def test_a_source_that_cannot_be_compared_blocks_those_below_it(rng, which):
    graph = with_compare(make_graph({"a": [1], "b": [3], "c": [2]}))
    schedule = fresh(graph)
    bad = shards_of(graph, "b")[which]
    drain(graph, schedule, rng, {Task("download/b", bad)})
    assert len(schedule.nodes["select/a"].done) == 1
    assert schedule.nodes["compare/b"].blocked == schedule.nodes["compare/c"].blocked == {"all"}
    assert schedule.nodes["select/b"].blocked == set(shards_of(graph, "b"))
    assert schedule.nodes["select/c"].blocked == set(shards_of(graph, "c"))


def test_a_comparison_that_fails_blocks_every_shard_of_its_source():
    graph = with_compare(make_graph({"a": [3], "b": [1]}))
    schedule = fresh(graph)
    drain(graph, schedule, random.Random(0), {Task("compare/a", "all")})
    for stage in ("caption", "rank", "select"):
        assert schedule.nodes[f"{stage}/a"].blocked == set(shards_of(graph, "a"))
    assert len(schedule.nodes["select/b"].done) == 1
