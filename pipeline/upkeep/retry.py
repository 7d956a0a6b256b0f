"""`capfilt retry`: rows of committed shards that failed for a reason that may pass are tried again.

It marks shards, and a run works those that are marked before all else. The rows keep their keys, and all others of the
shard stay what they are, images byte for byte. Where images came to a shard, what was made of it under whatever
recipe is removed and made anew; what was trained or measured on all shards is, too. Not while another run of the same
output is under way.
"""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.dag.graph import Graph, Node
from pipeline.dag.lineage import descendants
from pipeline.dag.plan import NodePlan
from pipeline.execute.worker import Job, make_job
from pipeline.session import Session
from pipeline.store import Store
from stages.errors import UserError
from stages.tables import STATUSES, Status

KIND: Final = "images"
"""What holds rows that failed for reasons that pass."""
PASSING: Final[tuple[Status, ...]] = (
    "dns",
    "connection",
    "tls",
    "timeout",
    "host_down",
    "http_later",
    "http_5xx",
    "http_other",
    "missing_file",
    "error",
)
"""What is tried again unless somebody says otherwise: the other reasons are the image's or its owner's, and stay."""
_NEVER: Final[tuple[Status, ...]] = ("success", "removed", "invalid_url")
READERS: Final = 8
"""Tables that are looked through at once."""


@dataclass(frozen=True)
class Marked:
    """What will be tried again."""

    rows: int
    shards: int


def statuses_of(text: str | None) -> frozenset[str]:
    """The statuses that a command names, separated by commas; without any, those that may pass.

    Raises:
        UserError: there is no such status, or its rows are not for trying again.
    """
    if text is None:
        return frozenset(PASSING)
    named = {word.strip() for word in text.split(",")} - {""}
    allowed = [status for status in STATUSES if status not in _NEVER]
    for status in sorted(named) or [""]:
        if status not in allowed:
            raise UserError(f"--status {status}: choose of {', '.join(allowed)}")
    return frozenset(named)


def mark(session: Session, wanted: Collection[str]) -> Marked:
    """Mark every committed shard that has rows of the statuses wanted.

    Args:
        session: the opened manifest.
        wanted: statuses of the images table.
    """
    rows = shards = 0
    for node in session.graph.writing(KIND):
        folder = session.store.folder_of(node)
        names = sorted(session.store.committed(folder))
        with ThreadPoolExecutor(READERS) as pool:
            for shard, count in zip(
                names, pool.map(partial(_count, session.store, folder, wanted), names), strict=True
            ):
                if count:
                    session.store.mark(folder, shard, wanted)
                    rows, shards = rows + count, shards + 1
    return Marked(rows, shards)


def _count(store: Store, folder: str, wanted: Collection[str], shard: str) -> int:
    found = store.artifact(folder, shard).table(["status"])["status"]
    return int(pc.sum(pc.is_in(found, value_set=pa.array(sorted(wanted), pa.string()))).as_py() or 0)


def marked_plans(session: Session) -> list[NodePlan]:
    """The marked shards as a plan of their own."""
    plans: list[NodePlan] = []
    for node in session.graph.writing(KIND):
        marked = session.store.marked(session.store.folder_of(node))
        if marked:
            assert node.source is not None
            urls = session.graph.cutting(node.source)
            parts = tuple(part.name for part in urls.parts)
            plans += [
                NodePlan(urls, parts, frozenset(parts), ""),
                NodePlan(node, tuple(sorted(marked)), frozenset(), "tries again"),
            ]
    return plans


def retry_job(node: Node, graph: Graph, store: Store) -> Job:
    """What a worker is told of a node of such a plan."""
    job = make_job(node, graph, store)
    return replace(job, retried=descendants(store, node.fingerprint)) if node.spec.writes == KIND else job
