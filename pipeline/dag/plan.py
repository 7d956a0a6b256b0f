"""Graph + what is committed -> what is left, and why. Pure: it looks at nothing but its arguments."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.dag.graph import Graph, Node


@dataclass(frozen=True)
class NodePlan:
    """What is left of one node."""

    node: Node
    shards: tuple[str, ...] | None
    """All its shards; None while its source has not been cut into shards."""
    done: frozenset[str]
    reason: str
    """Why there is something to do, in words; "" where nothing is."""
    stale: str = ""
    """Of a model that is there: that its data has changed since, in words."""
    left_out: str = ""
    """Of a model that is there: what it left out of its data, in words."""

    @property
    def missing(self) -> tuple[str, ...] | None:
        """The shards left, in order; None where their number is not known yet."""
        return None if self.shards is None else tuple(shard for shard in self.shards if shard not in self.done)

    @property
    def is_done(self) -> bool:
        """Whether every shard is committed."""
        return self.missing == ()


def make_plan(  # noqa: PLR0913, PLR0917 - what the store shows, each with its name
    graph: Graph,
    committed: Mapping[str, frozenset[str]],
    shards: Mapping[str, Sequence[str] | None],
    failed: Mapping[str, Collection[str]],
    earlier: Mapping[str, Sequence[Mapping[str, Any]]],
    news: Mapping[str, str],
) -> list[NodePlan]:
    """What is left of every node, in the order of the DAG.

    Args:
        graph: the DAG.
        committed: by node name, the shards that are there (of files: those that have been cut).
        shards: by source, the URL shards of its files that can be read; None while not all of them have been cut.
        failed: by the name of a `urls` node, its parts that could not be cut.
        earlier: by node name, the identities of earlier results of that stage and source under other fingerprints.
        news: by the name of a node that cuts files, what is new in them since the run before.
    """
    plans: dict[str, NodePlan] = {}
    broken = _broken(graph, failed)
    for name, node in graph.nodes.items():
        expected = _expected(node, shards)
        done = committed[name] if expected is None else committed[name] & frozenset(expected)
        plan = NodePlan(node, expected, done, "")
        if not plan.is_done:
            changed = [before for before in node.inputs if plans[before].reason and not _is_continued(plans[before])]
            why = _waits_for(node, broken[name]) or news.get(name) or _reason(plan, changed, earlier[name])
            plan = NodePlan(node, expected, done, why)
        plans[name] = plan
    return list(plans.values())


def _broken(graph: Graph, failed: Mapping[str, Collection[str]]) -> dict[str, list[str]]:
    """By node name, the files that cannot be read of all sources behind it."""
    found: dict[str, list[str]] = {}
    for name, node in graph.nodes.items():
        own = [part.place for part in node.parts if part.name in failed.get(name, ())]
        found[name] = list(dict.fromkeys([*own, *(place for before in node.inputs for place in found[before])]))
    return found


def _waits_for(node: Node, broken: Sequence[str]) -> str:
    """What a node that reads all shards at once waits for, in words; "" where nothing is amiss."""
    if not node.spec.at_once or not broken:
        return ""
    more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
    return f"blocked: it reads all shards at once, and {broken[0]}{more} cannot be read"


def _expected(node: Node, shards: Mapping[str, Sequence[str] | None]) -> tuple[str, ...] | None:
    if node.spec.grain == "file":
        return tuple(part.name for part in node.parts)
    if node.spec.at_once:
        return (node.whole,)
    assert node.source is not None
    found = shards[node.source]
    return None if found is None else tuple(found)


def _is_continued(plan: NodePlan) -> bool:
    return plan.reason.startswith(("resumes", "works"))


def _reason(plan: NodePlan, changed: Sequence[str], earlier: Sequence[Mapping[str, Any]]) -> str:
    if plan.done and plan.shards is None:
        return "works what is new in the list"
    if plan.done:
        return f"resumes: {len(plan.done)} of {len(plan.shards or ())} shards are done"
    own = [found for before in earlier if (found := difference(before, plan.node.identity))]
    if own and len(own) == len(earlier):
        _, nearest = min((len(found), found) for found in own)
        return "changed: " + ", ".join(nearest)
    if changed and earlier:
        return f"follows {changed[0]}"
    return "not run yet"


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The recipe keys (and the stage version) in which two identities differ, as `key old -> new`."""
    old, new = ({"version": found["version"], **found["recipe"]} for found in (before, now))
    keys = sorted(old.keys() | new.keys())
    return [f"{key} {_short(old.get(key))} -> {_short(new.get(key))}" for key in keys if old.get(key) != new.get(key)]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 32 else f"{text[:29]}..."
