"""What was found of a whole source at once, found anew: the shards of which something else is said now.

Such a table is the input of every shard, and says of few shards that anything is amiss. When a list has grown, only
those shards are worked anew of which it says something else than before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa

from pipeline.dag.lineage import descendants
from pipeline.store import Store
from stages.candidates import CANDIDATE

if TYPE_CHECKING:
    from pipeline.dag.graph import Node
    from pipeline.execute.job import Job

DATA: Final = "data"
"""What a table says in its metadata that was made of all rows at once: what stands for them."""


def replaced(store: Store, job: Job, name: str, now: pa.Table) -> str | None:
    """Remove what was made of the shards of which a table says something else than the one before.

    It goes before the table changes, so that this can be stopped anywhere and done once more.

    Returns:
        The attempt that left the table before; None where there is none.
    """
    if name not in store.committed(job.folder):
        return None
    before = store.artifact(job.folder, name)
    changed = changed_shards(before.table(), now)
    for made in descendants(store, job.writer):
        if changed and not made.at_once:
            listed = store.names_by_shard(made.url)
            for shard in changed:
                store.remove(made.url, shard, listed.get(shard, ()))
    return before.metadata()["attempt"]


def is_current(store: Store, node: Node, name: str) -> bool:
    """Whether a table was made of the rows that count now."""
    return store.artifact(store.folder_of(node), name).metadata().get(DATA) == node.data


def changed_shards(before: pa.Table, now: pa.Table) -> list[str]:
    """The shards of which two tables do not name the same rows: the same keys, or of these the same candidates."""
    known = [name for name in ("shard", *CANDIDATE) if name in now.column_names]
    named = [set(zip(*(table[name].to_pylist() for name in known), strict=True)) for table in (before, now)]
    return sorted({row[0] for row in named[0] ^ named[1]})
