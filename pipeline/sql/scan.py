"""SQL that reads a stage's tables where they lie, for whoever asks DuckDB.

This is the one place that hands paths to DuckDB. It would take `[`, `*` and `?` for a glob, and `key=value` for a
column. And so that the catalog moves with the tables, a path is put together when it is asked, not when it is written.
A byte of somebody's list that is no UTF-8 is `?`, and no reason to show nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dag.graph import Node
from pipeline.sql.column_types import as_text, without_common_type
from pipeline.store import Store
from stages.io.files import open_bytes
from stages.io.shards import whole_table

CATALOG: Final = "catalog.duckdb"
"""The file with the views, beside the stages' folders."""
PATH: Final = "table_path"
"""The column with a row's file while tables are read; DuckDB's own name for it, `filename`, is one that COCO's lists
have."""
SHARD: Final = f"parse_filename({PATH}, true)"
"""The shard that a table is of."""
READERS: Final = 16
"""Footers that are read side by side."""
_DATABASE: Final = r"regexp_replace(current_setting('temp_directory'), '\.tmp(\?.*)?$', '\1')"
"""The file that DuckDB was started with: its temporary folder, unless somebody sets another one, is named after it."""
_IS_CATALOG: Final = f"parse_filename({_DATABASE}) = '{CATALOG}'"
ALONE: Final = f"""
    CASE WHEN {_IS_CATALOG}
          AND (SELECT count(*) FROM duckdb_databases() WHERE parse_filename(path) = '{CATALOG}') > 1
         THEN error('two catalogs, of which one would read the tables of the other: start duckdb without a file and '
                    'ATTACH both')
         ELSE true END
"""
"""A condition, as SQL, that ends a query of a catalog where another one is attached to it: both would take the folder
of the first for theirs."""
# ruff: noqa: S608 - names and paths are quoted


@dataclass(frozen=True)
class Tables:
    """Tables that have the same columns."""

    names: tuple[str, ...]
    """Below the output; here `*` is a glob."""
    added: Mapping[str, str]
    """Columns that are put beside the tables' own, as SQL."""
    schema: pa.Schema | None = None
    """Their columns, where the stage does not give all its tables the same ones."""


@dataclass(frozen=True)
class Alike:
    """Shards of a node whose tables have the same columns."""

    shards: tuple[str, ...]
    schema: pa.Schema | None
    """As in `Tables`."""

    @property
    def parts(self) -> list[str]:
        """The files of the list that they were cut from."""
        return sorted({_part(shard) for shard in self.shards})


def open_duckdb(store: Store, path: str = ":memory:") -> duckdb.DuckDBPyConnection:
    """A connection that reads what the store's output lies on."""
    connection = duckdb.connect(path)
    if not store.is_local:
        connection.register_filesystem(store.filesystem)
    return connection


def scan(store: Store, groups: Sequence[Tables]) -> str:
    """A select of all rows of groups of tables, whose columns are matched by name.

    A column whose types have nothing in common is text there, a list or struct its JSON.
    """
    texts = without_common_type([group.schema for group in groups if group.schema is not None])
    return " UNION ALL BY NAME ".join(_select(store, group, texts) for group in groups)


def _select(store: Store, group: Tables, texts: Collection[str]) -> str:
    fields = [field for field in group.schema or () if field.name.casefold() in texts]
    casts = ", ".join(f"{as_text(identifier(field.name), field.type)} AS {identifier(field.name)}" for field in fields)
    replaced = f" REPLACE ({casts})" if casts else ""
    more = "".join(f", {sql} AS {name}" for name, sql in group.added.items())
    names = ", ".join(map(text, group.names))
    paths = f"list_transform([{names}], lambda name: {_root(store)} || name)"
    options = f"filename = '{PATH}', hive_partitioning = false, utf8_validation = 'replace'"
    return f"SELECT * EXCLUDE ({PATH}){replaced}{more} FROM read_parquet({paths}, {options})"


def _root(store: Store) -> str:
    """The folder of the output, as SQL: where the catalog lies that was opened, else where the store is."""
    folder = f"left({_DATABASE}, -{len(CATALOG)})"
    found = f"CASE WHEN {_IS_CATALOG} THEN {folder} ELSE {text(f'{store.root}/')} END"
    return f"regexp_replace({found}, '([*?[])', '[\\1]', 'g')"


def alike(store: Store, node: Node, shards: Collection[str]) -> list[Alike]:
    """Shards of a node by the columns of their tables: each file of a list may give its own ones other types."""
    if not shards or not keeps_columns(node):
        return [Alike(tuple(sorted(shards)), None)] if shards else []
    parts: dict[str, list[str]] = {}
    for shard in sorted(shards):
        parts.setdefault(_part(shard), []).append(shard)
    folder = store.folder_of(node)
    with ThreadPoolExecutor(READERS) as pool:
        schemas = pool.map(lambda names: schema(store.artifact(folder, names[0]).url), parts.values())
        found: dict[str, tuple[pa.Schema, list[str]]] = {}
        for names, columns in zip(parts.values(), schemas, strict=True):
            found.setdefault(str(columns), (columns, []))[1].extend(names)
    return [Alike(tuple(names), columns) for columns, names in found.values()]


def keeps_columns(node: Node) -> bool:
    """Whether its tables have columns of the source's own."""
    return any(part.source.keep for part in node.parts)


def schema(url: str) -> pa.Schema:
    """A table's columns and their types.

    Raises:
        DamagedError: it is none.
    """
    with whole_table(url), open_bytes(url) as file:
        return pq.read_schema(file).remove_metadata()


def below(store: Store, folder: str, *names: str) -> tuple[str, ...]:
    """Files of a folder as `Tables` names them."""
    return tuple(f"{folder.removeprefix(f'{store.root}/')}/{name}" for name in names)


def _part(shard: str) -> str:
    return shard.rsplit("-", 2)[0]


def text(said: str) -> str:
    """A string as SQL has it."""
    return "'" + said.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A column's name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'
