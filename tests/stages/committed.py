"""Tables on disk as a run commits them, for stages that read them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from stages.io.shards import Artifact


def write(path: Path, rows: list[dict], schema: pa.Schema, metadata: dict[str, str] | None = None) -> Artifact:
    pq.write_table(pa.Table.from_pylist(rows, schema).replace_schema_metadata(metadata), path)
    return Artifact(str(path))
