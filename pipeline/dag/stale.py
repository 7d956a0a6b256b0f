"""Why a model is stale: of which of its sources other rows count now than those that it was made of."""

from __future__ import annotations

import json
from typing import Final

from pipeline.dag.graph import Graph, Node
from pipeline.dag.listing import listings
from pipeline.store import Store

LISTINGS: Final = "listings"
"""What a table says in its metadata that was made of all rows at once: by source, the listings that it read."""
EARLIER: Final = "earlier_listings"
"""Likewise, those that were read by unfinished trainings that a model went on from: it may have learned of their rows,
and is nevertheless one of those that it read itself."""


def why_stale(node: Node, graph: Graph, store: Store) -> str:
    """What is to be said of a model whose data has changed; "" of one whose data has not."""
    if not (node.is_model and node.is_stale):
        return ""
    read = json.loads(store.artifact(store.folder_of(node), node.data).metadata().get(LISTINGS, "{}"))
    now = {source: listings(graph.cutting(source), store) for source in read}
    changed = [source for source, names in read.items() if names != now[source]]
    where = f" of {', '.join(changed)}" if changed else ""
    return f"stale: other rows{where} count now; `--refresh {node.step}` trains it anew"
