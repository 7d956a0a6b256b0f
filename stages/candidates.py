"""The candidates of a shard: every caption of its images, whoever wrote it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from stages.contract.work import Inputs

CANDIDATE: Final = ("key", "writer", "candidate")
"""The columns that a candidate is known by."""


def read_candidates(shard: Inputs, columns: Sequence[str], without: Collection[str] = ()) -> pa.Table:
    """All captions of a shard, one writer's after the other's, in the order of the manifest.

    Args:
        shard: with the role `captions`.
        columns: what is read beside `CANDIDATE`.
        without: keys of images whose captions are left out.
    """
    tables = [artifact.table([*CANDIDATE, *columns]) for artifact in shard.all("captions")]
    found = pa.concat_tables([table.replace_schema_metadata() for table in tables])
    if not without:
        return found
    return found.filter(pc.invert(pc.is_in(found["key"], pa.array(sorted(without), pa.string()))))
