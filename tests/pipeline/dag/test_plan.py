"""What reruns when a manifest changes, and the reason given for it."""

from __future__ import annotations

from pipeline.dag.graph import Graph
from pipeline.dag.plan import make_plan
from tests.pipeline.stubs import StubRecipe, make_graph

SHARDS = ["a-00000-00000", "a-00000-00001"]


def fingerprints(graph: Graph) -> dict[str, str]:
    return {name: node.fingerprint for name, node in graph.nodes.items()}


def plan(
    graph: Graph, done: dict[str, set[str]], before: Graph | None = None, marked: dict[str, set[str]] | None = None
):
    committed = {name: frozenset(done.get(name, ())) for name in graph.nodes}
    again = {name: frozenset((marked or {}).get(name, ())) for name in graph.nodes}
    earlier = {
        name: [before.nodes[name].identity] if before and before.nodes[name].fingerprint != node.fingerprint else []
        for name, node in graph.nodes.items()
    }
    return {found.node.name: found for found in make_plan(graph, committed, again, {"a": SHARDS}, {}, earlier)}


def test_a_changed_recipe_moves_its_stage_and_what_follows_and_nothing_else():
    before, after = make_graph({"a": [2]}), make_graph({"a": [2]}, rank=StubRecipe(value=5))
    moved = {name for name, value in fingerprints(after).items() if fingerprints(before)[name] != value}
    assert moved == {"rank/a", "select/a"}


def test_another_source_leaves_the_first_alone():
    before, after = make_graph({"a": [2]}), make_graph({"a": [2], "b": [1]})
    assert fingerprints(before).items() <= fingerprints(after).items()


def test_the_plan_names_the_key_that_changed_and_what_follows_from_it():
    before, after = make_graph({"a": [2]}), make_graph({"a": [2]}, rank=StubRecipe(value=5))
    done = {name: set(SHARDS) for name in ("download/a", "caption/a")} | {"urls/a": {"a-00000"}}
    plans = plan(after, done, before)
    assert plans["caption/a"].is_done
    assert plans["caption/a"].reason == ""
    assert plans["rank/a"].reason == "changed: value 0 -> 5"
    assert plans["select/a"].reason == "follows rank/a"


def test_a_half_done_node_resumes_with_the_shards_that_are_missing():
    graph = make_graph({"a": [2]})
    plans = plan(graph, {"urls/a": {"a-00000"}, "download/a": {SHARDS[0], "stray"}})
    assert plans["download/a"].missing == (SHARDS[1],)
    assert plans["download/a"].reason == "resumes: 1 of 2 shards are done"
    assert plans["caption/a"].reason == "not run yet"


def test_marked_shards_are_to_do_and_what_follows_is_not_until_they_change():
    graph = make_graph({"a": [2]})
    done = {name: set(SHARDS) for name in graph.nodes} | {"urls/a": {"a-00000"}}
    plans = plan(graph, done, marked={"download/a": {SHARDS[1]}})
    assert plans["download/a"].missing == (SHARDS[1],)
    assert plans["download/a"].reason == "tries failed rows of 1 shards again"
    assert all(found.is_done for name, found in plans.items() if name != "download/a")
