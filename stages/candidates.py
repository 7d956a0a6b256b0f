"""The candidates of a shard: every caption of its images, whoever wrote it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from stages.contract.work import Inputs

CANDIDATE: Final = ("key", "writer", "candidate")
"""The columns that a candidate is known by."""


def read_candidates(shard: Inputs, columns: Sequence[str]) -> pa.Table:
    """All captions of a shard, one writer's after the other's, in the order of the manifest.

    Args:
        shard: with the role `captions`.
        columns: what is read beside `CANDIDATE`.
    """
    tables = [artifact.table([*CANDIDATE, *columns]) for artifact in shard.all("captions")]
    return pa.concat_tables([table.replace_schema_metadata() for table in tables])
