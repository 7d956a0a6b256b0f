"""SQL that reads a stage's tables where they lie, for whoever asks DuckDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import duckdb
import fsspec
import pyarrow.parquet as pq

from pipeline.graph import Node
from pipeline.store import Store
from stages.shards import Artifact

PATH: Final = "table_path"
"""The column with a row's file while tables are read; DuckDB's own name for it, `filename`, is one that COCO's lists
have."""
SHARD: Final = f"parse_filename({PATH}, true)"
"""The shard that a table is of."""


def open_duckdb(store: Store, path: str = ":memory:") -> duckdb.DuckDBPyConnection:
    """A connection that reads what the store's output lies on."""
    connection = duckdb.connect(path)
    if not store.is_local:
        connection.register_filesystem(fsspec.core.url_to_fs(store.root)[0])
    return connection


def scan(paths: Sequence[str], added: Mapping[str, str], *, alike: bool) -> str:
    """A select of all rows of tables.

    Args:
        paths: tables, or globs.
        added: columns that are put beside the tables' own, as SQL.
        alike: whether one table tells the columns of all; else DuckDB looks at each before it begins.
    """
    more = "".join(f", {sql} AS {name}" for name, sql in added.items())
    listed = ", ".join(map(text, paths))
    options = f"filename = '{PATH}', union_by_name = {not alike}"
    return f"SELECT * EXCLUDE ({PATH}){more} FROM read_parquet([{listed}], {options})"  # noqa: S608 - quoted


def are_alike(store: Store, node: Node) -> bool:
    """Whether all tables of a node have the same columns: each file of a list may give its own ones other types."""
    folder = store.folder(node.spec.name, node.fingerprint)
    kept = any(part.source.keep for part in node.parts)
    first = [store.artifact(folder, f"{part.name}-00000") for part in node.parts] if kept else []
    return len({schema for artifact in first if (schema := _schema(artifact))}) <= 1


def _schema(artifact: Artifact) -> str:
    """A table's columns and their types; "" where it is not there."""
    try:
        with fsspec.open(artifact.url, "rb") as file:
            return str(pq.read_schema(file).remove_metadata())
    except FileNotFoundError:
        return ""


def text(said: str) -> str:
    """A string as SQL has it."""
    return "'" + said.replace("'", "''") + "'"
