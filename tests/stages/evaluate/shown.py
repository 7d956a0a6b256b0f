"""What the views make of the table that a measurement leaves."""

from __future__ import annotations

import duckdb
import pyarrow as pa

from pipeline.sql.measures import MEASURES


def recalls(table: pa.Table) -> list[dict]:
    """The rows of the view `retrieval`, in the order of the table's models, chance last."""
    connection = duckdb.connect()
    steps = [pa.array([value] * len(table)) for value in ("evaluate", "all")]
    connection.register("ranks", table.append_column("made_by", steps[0]).append_column("shard", steps[1]))
    rows = connection.sql(MEASURES["retrieval"]).to_arrow_table().to_pylist()
    models = [*dict.fromkeys(table["model"].to_pylist()), "chance"]
    return sorted(rows, key=lambda row: (row["source"], models.index(row["model"]), row["direction"], row["k"]))


def of_sets(table: pa.Table) -> list[dict]:
    """The rows of the view `captioning`."""
    connection = duckdb.connect()
    connection.register("raw_captioning", table)
    return connection.sql(MEASURES["captioning"]).to_arrow_table().to_pylist()
