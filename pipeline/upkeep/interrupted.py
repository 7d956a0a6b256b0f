"""What interrupted trainings have left, and which of it no run goes on with any more.

A run goes on from checkpoints of its own, or else from those of a training of the same recipe, as long as its data has
hardly changed. So what lies beside a finished model, or beside checkpoints of the rows that count now, is of no use; as
long as a run has neither, any of them may still be its beginning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

from pipeline.dag.graph import Lists, as_now
from pipeline.dag.lineage import CHECKPOINTS, checkpoints_at
from pipeline.dag.stored import stored_graph, stored_names
from pipeline.dag.there import Listings
from pipeline.store import FINGERPRINT, Store
from stages.errors import UserError


def useless(store: Store, folders: Iterable[str]) -> Iterator[str]:
    """The folders of checkpoints that no run goes on with.

    Args:
        store: the output.
        folders: of results.
    """
    asked = _asked_for(store)
    for folder in folders:
        left = [name for name in store.names(f"{folder}/{CHECKPOINTS}") if FINGERPRINT.fullmatch(name)]
        wanted = asked.get(folder, set())
        if not left or not wanted:  # what no manifest asks for goes as a whole, on demand
            continue
        done = store.committed(folder)
        if all(data in done or _has_begun(store, checkpoints_at(folder, data)) for data in wanted):
            yield from (checkpoints_at(folder, data) for data in left if data not in done and data not in wanted)


def _has_begun(store: Store, checkpoints: str) -> bool:
    """Whether a training has a checkpoint of its own."""
    return any(name.endswith(".pt") for name in store.names(checkpoints))


def _asked_for(store: Store) -> dict[str, set[str]]:
    """By folder, what stands for the rows of the models that latest runs read, or would train now."""
    lists = Lists(listing_of=Listings(store))
    found: dict[str, set[str]] = {}
    for name in stored_names(store):
        with suppress(UserError):  # a graph that cannot be read is told by who needs it
            stored = stored_graph(store, name)
            graphs = (stored.graph, as_now(stored.graph, lists)) if stored else ()
            for node in (node for graph in graphs for node in graph.nodes.values() if node.is_model):
                found.setdefault(store.folder_of(node), set()).add(node.data)
    return found
