"""Which files of the lists have damaged entries: said beside the listing of the shards that each was cut into.

<output>/urls/<fingerprint>/parts/<file>.<attempt>.damage.json
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pipeline.dag.graph import Graph
from pipeline.dag.listing import done_folder
from pipeline.store import Store
from stages.urls.damage import Damage

ENDING: Final = "damage.json"


def write_damage(damage: Damage, scratch: Path) -> Mapping[str, Path]:
    """Write what was left out of a file as a side file of its listing; none where it was taken whole."""
    if not damage.words:
        return {}
    path = scratch / ENDING
    path.write_text(json.dumps({"file": damage.place, **damage.counts, "words": damage.words}), encoding="utf-8")
    return {ENDING: path}


def damaged_files(graph: Graph, store: Store) -> list[dict[str, Any]]:
    """The damaged files: node, file, what is wrong with how many of its entries, and all of it in words."""
    found = []
    for node in graph.cuts:
        named = {part.name for part in node.parts}
        sides = store.sides(done_folder(node, store), ENDING)
        found += [
            {"node": node.name, **store.read_json(url, "file", "words")} for part, url in sides.items() if part in named
        ]
    return found
