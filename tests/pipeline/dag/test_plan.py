"""What reruns when a manifest changes, and the reason given for it."""

from __future__ import annotations

from pipeline.dag.graph import Graph
from pipeline.dag.plan import make_plan
from tests.pipeline.stubs import StubRecipe, make_graph, make_part

SHARDS = ["a-00000-00000", "a-00000-00001"]
CUT = make_part("a", 0, 2).name
"""The name of the listing of the file that they are of."""


def fingerprints(graph: Graph) -> dict[str, str]:
    return {name: node.fingerprint for name, node in graph.nodes.items()}


def plan(graph: Graph, done: dict[str, set[str]], before: Graph | None = None, news: dict[str, str] | None = None):
    committed = {name: frozenset(done.get(name, ())) for name in graph.nodes}
    earlier = {
        name: [before.nodes[name].identity] if before and before.nodes[name].fingerprint != node.fingerprint else []
        for name, node in graph.nodes.items()
    }
    return {found.node.name: found for found in make_plan(graph, committed, {"a": SHARDS}, {}, earlier, news or {})}


def test_a_changed_recipe_moves_its_stage_and_what_follows_and_nothing_else():
    before, after = make_graph({"a": [2]}), make_graph({"a": [2]}, rank=StubRecipe(value=5))
    moved = {name for name, value in fingerprints(after).items() if fingerprints(before)[name] != value}
    assert moved == {"rank/a", "select/a"}


def test_another_source_leaves_the_first_alone():
    before, after = make_graph({"a": [2]}), make_graph({"a": [2], "b": [1]})
    assert fingerprints(before).items() <= fingerprints(after).items()


def test_the_plan_names_the_key_that_changed_and_what_follows_from_it():
    before, after = make_graph({"a": [2]}), make_graph({"a": [2]}, rank=StubRecipe(value=5))
    done = {name: set(SHARDS) for name in ("download/a", "caption/a")} | {"urls/a": {CUT}}
    plans = plan(after, done, before)
    assert plans["caption/a"].is_done
    assert plans["caption/a"].reason == ""
    assert plans["rank/a"].reason == "changed: value 0 -> 5"
    assert plans["select/a"].reason == "follows rank/a"


def test_a_half_done_node_resumes_with_the_shards_that_are_missing():
    graph = make_graph({"a": [2]})
    plans = plan(graph, {"urls/a": {CUT}, "download/a": {SHARDS[0], "stray"}})
    assert plans["download/a"].missing == (SHARDS[1],)
    assert plans["download/a"].reason == "resumes: 1 of 2 shards are done"
    assert plans["caption/a"].reason == "not run yet"


def test_what_is_new_in_a_list_is_the_reason_and_what_is_done_stays_done():
    graph = make_graph({"a": [2]})
    done = {name: set(SHARDS) for name in graph.nodes} | {"urls/a": set()}
    told = "1 file added: b.csv"
    committed = {name: frozenset(found) for name, found in done.items()}
    earlier = {name: [] for name in graph.nodes}
    plans = {left.node.name: left for left in make_plan(graph, committed, {"a": None}, {}, earlier, {"urls/a": told})}
    assert plans["urls/a"].reason == told
    for name in ("download/a", "caption/a", "rank/a", "select/a"):
        assert plans[name].shards is None
        assert plans[name].done == set(SHARDS)
        assert plans[name].reason == "works what is new in the list"
