"""Tables on disk as a run commits them, for stages that read them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from stages.io.shards import Artifact

WRITER = "0123456789abcdef"
"""The fingerprint of the step that is at work."""


def only(artifacts: Mapping[str, Artifact]) -> dict[str, tuple[Artifact, ...]]:
    """The inputs of a shard of which every role has one."""
    return {role: (artifact,) for role, artifact in artifacts.items()}


def write(path: Path, rows: list[dict], schema: pa.Schema, metadata: dict[str, str] | None = None) -> Artifact:
    pq.write_table(pa.Table.from_pylist(rows, schema).replace_schema_metadata(metadata), path)
    return Artifact(str(path))
