"""DuckDB views over what is committed: the same in `capfilt query` and in the catalog file beside the tables.

The views read the tables where they lie, by glob, so they show each shard as soon as it is done. Of a folder that has
been compacted they read the large tables, and those of the shards that came later. The catalog file reads what lies
beside it, wherever the folder has been moved or copied to and whatever folder DuckDB is started in; one that is
ATTACHed to another database cannot tell where it lies, and reads the tables where they were when it was written. A
second catalog that is attached to a first one would take that one's folder for its own, and refuses.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeAlias

import duckdb

from pipeline.dag.graph import Graph, Node
from pipeline.sql.compaction import compaction
from pipeline.sql.scan import (
    ALONE,
    CATALOG,
    SHARD,
    Tables,
    alike,
    below,
    keeps_columns,
    open_duckdb,
    scan,
    schema,
    text,
    whole_tables,
)
from pipeline.sql.text_tags import text_tag
from pipeline.store import Store, file_of
from stages.io.files import scratch_folder, write_whole
from stages.kinds import KINDS, Kind

Catalog: TypeAlias = duckdb.DuckDBPyConnection
"""A connection in which the views are."""

# ruff: noqa: S608 - the SQL is this project's own, its texts and paths too
_HOST = r"lower(regexp_extract(url, '^\s*\w+://(?:[^/?#]*@)?(\[[^]]*\]|[^/?#:]*)', 1))"
JOINED = {
    "images": f"""
        SELECT images.*, {_HOST.replace("url", "images.url", 1)} AS host, urls.text, {text_tag("urls.text")} AS text_tag
        FROM raw_images AS images JOIN urls USING (key)
    """,
    "captions": f"""
        SELECT key, writer, candidate, origin, caption, logprob, clip_score, itm_score, "rank", kept, reason,
               coalesce(captions.error, rank_error, filter_error) AS error,
               CASE WHEN origin = 'web' THEN {text_tag("captions.caption")} END AS text_tag, captions.shard,
               urls.* EXCLUDE (key, shard, text, texts, file)
        FROM raw_captions AS captions JOIN urls USING (key)
        LEFT JOIN (SELECT key, writer, candidate, clip_score, error AS rank_error FROM raw_rank)
            USING (key, writer, candidate)
        LEFT JOIN (SELECT key, writer, candidate, itm_score, error AS filter_error FROM raw_filter)
            USING (key, writer, candidate)
        LEFT JOIN (SELECT key, writer, candidate, "rank", kept, reason FROM raw_select)
            USING (key, writer, candidate)
    """,
    "corpus": """
        SELECT key, source, url, caption, origin, "rank", clip_score, itm_score FROM captions WHERE kept
    """,
    "evaluation": """
        SELECT step, images, r1_image_to_text, r1_text_to_image, chance FROM pretraining WHERE phase = 'holdout'
    """,
    "uncaptioned": """
        SELECT source, shard, key, split_part(error, ':', 1) AS reason, error FROM raw_captions WHERE error IS NOT NULL
    """,
    "unselected": """
        SELECT source, any_value(shard) AS shard, key,
               CASE WHEN bool_or(reason = 'unscored') THEN 'unscored'
                    WHEN bool_or(reason = 'below_threshold') THEN 'all_below_threshold' ELSE 'no_text' END AS reason
        FROM raw_select GROUP BY source, key HAVING NOT bool_or(kept)
    """,
    "failures": f"""
        SELECT 'download' AS stage, source, shard, key, url, {_HOST} AS host, status AS reason, error
        FROM raw_images WHERE status <> 'success'
        UNION ALL
        SELECT 'dedup', source, shard, key, url, {_HOST}, 'duplicate by ' || rule, 'a copy of ' || original
        FROM raw_images JOIN (SELECT key, original, rule FROM duplicates) USING (key) WHERE status = 'success'
        UNION ALL
        SELECT 'caption', uncaptioned.source, uncaptioned.shard, key, url, NULL, reason, error
        FROM uncaptioned JOIN urls USING (key)
        UNION ALL
        SELECT 'select', unselected.source, unselected.shard, key, url, NULL, reason,
               'no caption of this image was kept'
        FROM unselected JOIN urls USING (key) ANTI JOIN uncaptioned USING (key)
    """,
    "losses": """
        WITH lost AS (
            SELECT 'download' AS stage, source, status AS reason FROM raw_images WHERE status <> 'success'
            UNION ALL
            SELECT 'dedup', source, 'duplicate by ' || rule
            FROM raw_images JOIN (SELECT key, rule FROM duplicates) USING (key) WHERE status = 'success'
            UNION ALL
            SELECT 'caption', source, reason FROM uncaptioned
            UNION ALL
            SELECT 'select', source, reason FROM unselected ANTI JOIN uncaptioned USING (key)
        )
        SELECT stage, source, reason, count(*) AS count
        FROM lost GROUP BY ALL ORDER BY stage, source, count DESC, reason
    """,
    "hosts": f"""
        SELECT host, count(*) AS urls, count(*) FILTER (status = 'success') AS images,
               count(*) FILTER (status <> 'success') AS failed,
               mode(status ORDER BY status) FILTER (status <> 'success') AS reason
        FROM (SELECT status, {_HOST} AS host FROM raw_images)
        WHERE host <> '' GROUP BY host ORDER BY failed DESC, urls DESC, host
    """,
    # each image that has captions has one that is number 1, and each that has an allowed one has one of rank 1, which
    # is kept; so no step has to join, or to count distinct keys
    "funnel": """
        WITH steps AS (
            SELECT source, 1 AS position, 'URLs' AS step, count(*) AS count FROM urls GROUP BY source
            UNION ALL
            SELECT source, 2, 'images', count(*) FROM raw_images WHERE status = 'success' GROUP BY source
            UNION ALL
            SELECT source, 3, 'distinct', count(*) FROM raw_images ANTI JOIN duplicates USING (key)
            WHERE status = 'success' AND source IN (SELECT source FROM duplicates) GROUP BY source
            UNION ALL
            SELECT source, 4, 'captioned', max(count) FROM (
                SELECT source, count(*) AS count FROM raw_captions WHERE candidate = 1 GROUP BY source, writer
            ) GROUP BY source
            UNION ALL
            SELECT source, 5, 'kept', count(*) FROM raw_select WHERE "rank" = 1 AND kept GROUP BY source
            UNION ALL
            SELECT source, 6, 'captions kept', count(*) FROM raw_select WHERE kept GROUP BY source
        )
        SELECT source, step, count FROM steps ORDER BY source, position
    """,
}
"""The views that people ask, in the order in which they build on one another."""


def connect(graph: Graph, store: Store) -> Catalog:
    """An in-memory DuckDB with the catalog's views."""
    connection = open_duckdb(store)
    _define(connection, graph, store)
    return connection


def write_catalog(graph: Graph, store: Store) -> str:
    """Write the views as `catalog.duckdb` beside the tables; a reader has the old file or the new one, never half.

    Returns:
        The file's location.
    """
    with scratch_folder() as folder:
        path = folder / "views.duckdb"  # any name but its own, by which the views would look for the tables beside it
        with open_duckdb(store, str(path)) as connection:
            _define(connection, graph, store, where=ALONE)
        location = f"{store.root}/{CATALOG}"
        write_whole(location, path.read_bytes())
    return location


def query(connection: Catalog, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and rows of a query.

    Raises:
        duckdb.Error: the query is wrong.
        DamagedError: a table is damaged.
    """
    with whole_tables():
        result = connection.sql(sql)
        return ([], []) if result is None else (result.columns, result.fetchall())


def _define(connection: duckdb.DuckDBPyConnection, graph: Graph, store: Store, *, where: str = "true") -> None:
    for name, kind in KINDS.items():
        tables = [found for node in graph.writing(name) for found in _tables(store, node, kind.schema.names)]
        rows = scan(store, tables) if tables else _empty(connection, kind)
        with whole_tables():
            connection.execute(f"CREATE VIEW {kind.view} AS SELECT * FROM ({rows}) WHERE {where}")
    for view, sql in JOINED.items():
        with whole_tables():
            connection.execute(f"CREATE VIEW {view} AS {sql}")


def _tables(store: Store, node: Node, columns: Collection[str]) -> list[Tables]:
    """A node's tables: those of single shards, by name or by glob, and those of many."""
    folder = store.folder_of(node)
    own = {"shard": SHARD, "source": text(node.source) if node.source else "NULL"}
    added = {name: sql for name, sql in own.items() if name not in columns}
    shards, compacted = store.committed(folder), compaction(store, folder)
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
    described += [(name, "VARCHAR") for name in ("shard", "source") if name not in kind.schema.names]
    columns = ", ".join(f'CAST(NULL AS {sort}) AS "{name}"' for name, sort in described)
    return f"SELECT {columns} WHERE false"
