"""What of a graph is there, as the output shows it now: listings, models, shards; and so what is left of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pipeline.dag.graph import Graph, Node
from pipeline.dag.left_out import left_out, words
from pipeline.dag.listing import done_folder, latest, listings, part_of, read_listing
from pipeline.dag.news import news
from pipeline.dag.plan import NodePlan, make_plan
from pipeline.dag.stale import why_stale
from pipeline.dag.verdicts import is_current
from pipeline.store import Store
from stages.errors import UserError
from stages.urls.parts import Part


class Trained:
    """Which models are there, of the run before.

    Args:
        store: the output.
        before: the graph of that run.
        refresh: the steps whose models are not to be kept.
    """

    def __init__(self, store: Store, before: Graph | None, refresh: Sequence[str]) -> None:
        nodes = before.nodes.values() if before else ()
        self._before = {node.fingerprint: node for node in nodes if node.is_model}
        self._store = store
        self._refresh = refresh

    def __call__(self, node: Node) -> str | None:
        """What stands for the rows that a model was made of, None where it has not been made, or is to be anew."""
        then = self._before.get(node.fingerprint)
        if then is None or {node.step, node.step.partition("@")[0]} & set(self._refresh):
            return None
        return then.data if then.data in self._store.committed(self._store.folder_of(node)) else None

    def check(self, graph: Graph) -> None:
        """See that what is to be trained anew is a model.

        Raises:
            UserError: it is none.
        """
        models = dict.fromkeys(node.step for node in graph.nodes.values() if node.is_model)
        for step in self._refresh:
            if not any(node.is_model for node in graph.of_step(step)):
                known = ", ".join(models) or "none"
                raise UserError(f"--refresh {step}: there is no such model; those that are trained: {known}")


class Listings:
    """Which listing of a file counts, as the store shows it now."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._latest: dict[str, dict[str, str]] = {}

    def __call__(self, node: Node, part: Part) -> str:
        """The name of the listing; of a file that has not been cut, the name that it will have."""
        return self._there(node).get(part.name, part.name)

    def _there(self, node: Node) -> dict[str, str]:
        folder = done_folder(node, self._store)
        if folder not in self._latest:
            self._latest[folder] = latest(self._store.committed(folder))
        return self._latest[folder]

    def up_to(self, limit: int | None, node: Node) -> tuple[Part, ...]:
        """The files of a source that are needed for so many rows, as far as they have been cut, and the next one."""
        if limit is None:
            return node.parts
        left, parts = limit, list[Part]()
        for part in node.parts:
            parts.append(replace(part, limit=left))
            listing = self._there(node).get(parts[-1].name)
            if listing is None:
                break
            left -= sum(found.rows for found in read_listing(self._store, self._store.folder_of(node), [listing]))
            if left <= 0:
                break
        return tuple(parts)


def plan(graph: Graph, store: Store, before: Graph | None = None) -> list[NodePlan]:
    """What is left of the graph, as the store shows it now, and what is new since the run before."""
    committed, shards, failed, earlier, new = {}, {}, {}, {}, {}
    for name, node in graph.nodes.items():
        committed[name] = _committed(node, store)
        earlier[name] = [] if committed[name] else _earlier(node, store)
        if node.spec.grain == "file" and node.source:
            new[name] = news(node, before)
            failed[name] = frozenset(store.failures(done_folder(node, store)))
            tried = bool(node.parts) and failed[name] | committed[name] >= {part.name for part in node.parts}
            counted = read_listing(store, store.folder_of(node), listings(node, store)) if tried else None
            shards[node.source] = None if counted is None else [found.shard for found in counted]
    plans = make_plan(graph, committed, shards, failed, earlier, new)
    return [_with_words(left, graph, store) if left.is_done else left for left in plans]


def _with_words(plan: NodePlan, graph: Graph, store: Store) -> NodePlan:
    """What there is to say of a node that is done."""
    return replace(plan, stale=why_stale(plan.node, graph, store), left_out=words(left_out(plan.node, store)))


def _committed(node: Node, store: Store) -> frozenset[str]:
    """What of a node is there, and still holds."""
    found = store.committed(done_folder(node, store))
    if node.spec.grain == "file":
        return frozenset(map(part_of, found))
    if node.spec.grain == "source":  # rows may have come since, or gone
        return frozenset(name for name in found if is_current(store, node, name))
    return frozenset(found)


def _earlier(node: Node, store: Store) -> list[dict[str, Any]]:
    """The identities of what this stage computed for the same source under other fingerprints."""
    others = [found for found in store.fingerprints(node.spec.name) if found != node.fingerprint]
    recipes = [store.recipe(store.folder(node.spec.name, other)) for other in others]
    return [recipe["identity"] for recipe in recipes if recipe and recipe["source"] == node.source]
