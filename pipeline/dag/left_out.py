"""What a model left out of the images that it was given: its table counts them, by reason and source."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from pipeline.dag.graph import Node
from pipeline.store import Store
from stages.contract.work import OF_SOURCE


class LeftOut(NamedTuple):
    """Images of a source that were left out for one reason."""

    source: str
    reason: str
    images: int


def left_out(node: Node, store: Store) -> list[LeftOut]:
    """What a model left out; nothing of other nodes, and of a model that is not there.

    Raises:
        DamagedError: its table is damaged.
    """
    folder = store.folder_of(node)
    if not node.is_model or node.whole not in store.committed(folder):
        return []
    counts = json.loads(store.artifact(folder, node.whole).metadata().get("counts", "{}"))
    parted = [(*name.partition(OF_SOURCE), count) for name, count in counts.items()]
    return [LeftOut(source, reason, count) for reason, _, source, count in parted if source]


def words(found: Sequence[LeftOut]) -> str:
    """For people; "" where nothing was left out."""
    told = ", ".join(f"{each.images:,} {each.reason} of {each.source}" for each in found)
    return f"left out: {told}" if told else ""
