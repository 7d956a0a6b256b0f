"""DuckDB views over what is committed: the same in `capfilt query` and in the catalog file beside the tables.

The views read the tables where they lie, by glob, so they show each shard as soon as it is done. Of a folder that has
been compacted they read the large tables, and those of the shards that came later. The catalog file reads what lies
beside it, wherever the folder has been moved or copied to and whatever folder DuckDB is started in; one that is
ATTACHed to another database cannot tell where it lies, and reads the tables where they were when it was written. A
second catalog that is attached to a first one would take that one's folder for its own, and refuses.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import duckdb

from pipeline.dag.graph import Graph, Node
from pipeline.dag.left_out import left_out
from pipeline.dag.listing import PARTS, listings, read_listing
from pipeline.dag.stored import stored_graph, stored_names
from pipeline.sql.compaction import compaction
from pipeline.sql.damage import MISTAKES, whole_tables
from pipeline.sql.scan import (
    ALONE,
    CATALOG,
    SHARD,
    Tables,
    alike,
    below,
    identifier,
    keeps_columns,
    open_duckdb,
    scan,
    schema,
    text,
)
from pipeline.sql.views import MADE_BY, views
from pipeline.store import Store, file_of
from stages.io.files import scratch_folder, write_whole
from stages.kinds import KINDS, Kind
from stages.urls.known import Counted

# ruff: noqa: S608 - the SQL is this project's own, its texts and paths too
Graphs: TypeAlias = Mapping[str, Graph]
"""Of other manifests in the same output, by name: their views stand in a schema of that name."""


@dataclass(frozen=True)
class Catalog:
    """The views, to be asked."""

    connection: duckdb.DuckDBPyConnection
    """In which they are."""
    store: Store
    folders: tuple[str, ...]
    """Whose tables they read."""


def connect(graph: Graph, store: Store, others: Graphs | None = None) -> Catalog:
    """An in-memory DuckDB with the catalog's views."""
    connection = open_duckdb(store)
    _define_all(connection, graph, store, others or {})
    return Catalog(connection, store, _folders(store, [graph, *(others or {}).values()]))


def write_catalog(graph: Graph, store: Store, others: Graphs | None = None) -> str:
    """Write the views as `catalog.duckdb` beside the tables; a reader has the old file or the new one, never half.

    Returns:
        The file's location.
    """
    with scratch_folder() as folder:
        path = folder / "views.duckdb"  # any name but its own, by which the views would look for the tables beside it
        with open_duckdb(store, str(path)) as connection:
            _define_all(connection, graph, store, others or {}, where=ALONE)
        location = f"{store.root}/{CATALOG}"
        write_whole(location, path.read_bytes())
    return location


def renew_catalog(store: Store) -> None:
    """Write the views anew, which may name tables that are gone."""
    found = [stored for name in stored_names(store) if (stored := stored_graph(store, name))]
    if found:
        latest = max(found, key=lambda stored: stored.written)
        write_catalog(latest.graph, store, {each.name: each.graph for each in found if each is not latest})


def query(catalog: Catalog, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and rows of a query.

    Raises:
        DamagedError: a table is damaged.
        STUMBLES: the query is wrong, or DuckDB cannot answer it.
    """
    with whole_tables(catalog.store, catalog.folders, MISTAKES):
        result = catalog.connection.sql(sql)
        return ([], []) if result is None else (result.columns, result.fetchall())


def _define_all(
    connection: duckdb.DuckDBPyConnection, graph: Graph, store: Store, others: Graphs, *, where: str = "true"
) -> None:
    """The views of a graph, and those of others, each in a schema of its own."""
    with whole_tables(store, _folders(store, [graph, *others.values()])):
        for name, other in others.items():
            connection.execute(f"CREATE SCHEMA {identifier(name)}; SET schema = {text(identifier(name))}")
            _define(connection, other, store, where=where)
        connection.execute("SET schema = 'main'")
        _define(connection, graph, store, where=where)


def _folders(store: Store, graphs: Iterable[Graph]) -> tuple[str, ...]:
    """Where the tables of graphs lie."""
    return tuple(dict.fromkeys(store.folder_of(node) for graph in graphs for node in graph.nodes.values()))


def _define(connection: duckdb.DuckDBPyConnection, graph: Graph, store: Store, *, where: str = "true") -> None:
    counted = {node.name: _counted(store, node) for node in graph.cuts}
    _define_listings(connection, graph, store, where)
    for name, kind in KINDS.items():
        nodes = list({node.version: node for node in graph.writing(name)}.values())  # two steps may be the same
        tables = [found for node in nodes for found in _tables(store, node, kind.schema.names)]
        rows = scan(store, tables) if tables else _empty(connection, kind)
        if any(_has_more(store, graph, node, counted) for node in nodes):
            rows = f"FROM ({rows}) SEMI JOIN listings USING (shard) ANTI JOIN uncounted USING (shard, key)"
        connection.execute(f"CREATE VIEW {kind.view} AS SELECT * FROM ({rows}) WHERE {where}")
    models = [(node.step, each) for node in graph.nodes.values() for each in left_out(node, store)]
    for view, sql in views(graph, models):
        connection.execute(f"CREATE VIEW {view} AS {sql}")


def _counted(store: Store, node: Node) -> list[Counted]:
    """The shards of a source that count, as far as it has been cut."""
    return read_listing(store, store.folder_of(node), listings(node, store))


def _has_more(store: Store, graph: Graph, node: Node, counted: Mapping[str, Sequence[Counted]]) -> bool:
    """Whether tables of a node hold rows that do not count (any more): of other lists, or of rows that moved."""
    if node.source is None or node.spec.at_once:
        return False
    own = counted[graph.cutting(node.source).name]
    shards = {found.shard for found in own}
    return any(found.without for found in own) or not store.committed(store.folder_of(node)) <= shards


def _define_listings(connection: duckdb.DuckDBPyConnection, graph: Graph, store: Store, where: str) -> None:
    """Views of the shards that count, and of the rows in them that do not."""
    tables = []
    for node in graph.cuts:
        if names := listings(node, store):
            paths = below(store, f"{store.folder_of(node)}/{PARTS}", *map(file_of, names))
            tables.append(Tables(paths, {"source": text(node.source or "")}))
    empty = "SELECT NULL::VARCHAR AS shard, 0 AS rows, []::VARCHAR[] AS without, 0 AS retry, NULL::VARCHAR AS source"
    rows = scan(store, tables) if tables else f"{empty} WHERE false"
    connection.execute(f"CREATE VIEW listings AS SELECT * FROM ({rows}) WHERE {where}")
    connection.execute("CREATE VIEW uncounted AS SELECT shard, unnest(without) AS key FROM listings")


def _tables(store: Store, node: Node, columns: Collection[str]) -> list[Tables]:
    """A node's tables: those of single shards, by name or by glob, and those of many."""
    folder = store.folder_of(node)
    own = {"shard": SHARD, "source": text(node.source) if node.source else "NULL", MADE_BY: text(node.step)}
    added = {name: sql for name, sql in own.items() if name not in columns}
    shards, compacted = store.committed(folder), compaction(store, folder)
    if node.spec.at_once:
        return [Tables(below(store, folder, file_of(node.whole)), added)] if node.whole in shards else []
    groups = alike(store, node, shards - compacted.shards)
    if compacted.files:
        small = [Tables(below(store, folder, *map(file_of, group.shards)), added, group.schema) for group in groups]
        in_large = {name: sql for name, sql in added.items() if name != "shard"}
        return [*_large(store, node, folder, compacted.files, in_large), *small]
    if len(groups) == 1:
        return [Tables(below(store, folder, file_of("[!.]*")), added, groups[0].schema)]
    return [
        Tables(below(store, folder, *(file_of(f"{part}-*") for part in group.parts)), added, group.schema)
        for group in groups
    ]


def _large(store: Store, node: Node, folder: str, files: Collection[str], added: Mapping[str, str]) -> list[Tables]:
    if not keeps_columns(node):
        return [Tables(below(store, folder, *files), added)]
    return [Tables(below(store, folder, name), added, schema(f"{folder}/{name}")) for name in files]


def _empty(connection: duckdb.DuckDBPyConnection, kind: Kind) -> str:
    """A select without rows that has a kind's columns, and those that every view has."""
    connection.register(f"empty_{kind.view}", kind.schema.empty_table())
    described = [tuple(row[:2]) for row in connection.sql(f"DESCRIBE empty_{kind.view}").fetchall()]
    connection.unregister(f"empty_{kind.view}")
    described += [(name, "VARCHAR") for name in ("shard", "source", MADE_BY) if name not in kind.schema.names]
    columns = ", ".join(f'CAST(NULL AS {sort}) AS "{name}"' for name, sort in described)
    return f"SELECT {columns} WHERE false"
