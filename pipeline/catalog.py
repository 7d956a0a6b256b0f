"""DuckDB views over what is committed: the same in `capfilt query` and in the catalog file beside the tables.

The views read the tables where they lie, by glob, so they show each shard as soon as it is done. Of a folder that has
been compacted they read the large tables, and those of the shards that came later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import duckdb
import fsspec
import pyarrow as pa

from pipeline.compaction import compaction
from pipeline.graph import Graph
from pipeline.store import TABLE, Store
from pipeline.text_tags import text_tag
from stages import tables
from stages.evaluate.tables import RETRIEVAL
from stages.files import scratch_folder, write_whole
from stages.pretrain.tables import METRICS

FILE = "catalog.duckdb"

_PATH = "table_path"
"""DuckDB's column with a row's file while a view is read; its own name, `filename`, is one that COCO's files have."""

Catalog: TypeAlias = duckdb.DuckDBPyConnection
"""A connection in which the views are."""

RAW: Mapping[str, tuple[tuple[str, ...], pa.Schema]] = {
    "urls": (("urls",), tables.URLS),
    "raw_images": (("download",), tables.IMAGES),
    "raw_hashes": (("hash",), tables.HASHES),
    "raw_duplicates": (("dedup",), tables.DUPLICATES),
    "raw_captions": (("caption", "annotate"), tables.CAPTIONS),
    "raw_rank": (("rank",), tables.RANK),
    "raw_filter": (("filter",), tables.FILTER),
    "raw_select": (("select",), tables.SELECT),
    "pretraining": (("pretrain",), METRICS),
    "retrieval": (("evaluate",), RETRIEVAL),
}
"""A view for every table: the stages that write it, and its columns where nothing is written yet."""

# ruff: noqa: S608 - the SQL is this project's own, its texts and paths too
JOINED = {
    "images": rf"""
        SELECT images.*, urls.source, urls.text, {text_tag("urls.text")} AS text_tag,
               lower(regexp_extract(images.url, '^\s*\w+://(?:[^/?#]*@)?(\[[^]]*\]|[^/?#:]*)', 1)) AS host
        FROM raw_images AS images JOIN urls USING (key)
    """,
    "duplicates": """
        SELECT duplicates.*, urls.source FROM raw_duplicates AS duplicates JOIN urls USING (key)
    """,
    "captions": f"""
        SELECT key, candidate, origin, caption, logprob, clip_score, itm_score, "rank", kept, reason,
               CASE WHEN origin = 'web' THEN {text_tag("captions.caption")} END AS text_tag, captions.shard,
               urls.* EXCLUDE (key, shard, text, texts, file)
        FROM raw_captions AS captions JOIN urls USING (key)
        LEFT JOIN (SELECT key, candidate, clip_score FROM raw_rank) USING (key, candidate)
        LEFT JOIN (SELECT key, candidate, itm_score FROM raw_filter) USING (key, candidate)
        LEFT JOIN (SELECT key, candidate, "rank", kept, reason FROM raw_select) USING (key, candidate)
    """,
    "corpus": """
        SELECT key, source, url, caption, origin, "rank", clip_score, itm_score FROM captions WHERE kept
    """,
    "evaluation": """
        SELECT step, images, r1_image_to_text, r1_text_to_image, chance FROM pretraining WHERE phase = 'holdout'
    """,
    "failures": """
        SELECT 'download' AS stage, source, shard, key, url, host, status AS reason, error
        FROM images WHERE status <> 'success'
        UNION ALL
        SELECT 'dedup', images.source, images.shard, key, images.url, images.host, 'duplicate by ' || rule,
               'a copy of ' || original
        FROM images JOIN raw_duplicates USING (key) WHERE status = 'success'
        UNION ALL
        SELECT 'select', source, any_value(shard), key, any_value(url), NULL,
               CASE WHEN bool_or(reason = 'below_threshold') THEN 'all_below_threshold' ELSE 'no_text' END,
               'no caption of this image was kept'
        FROM captions WHERE kept IS NOT NULL GROUP BY source, key HAVING NOT bool_or(kept)
    """,
    "losses": """
        SELECT stage, source, reason, count(*) AS count
        FROM failures GROUP BY ALL ORDER BY stage, source, count DESC, reason
    """,
    "hosts": """
        SELECT host, count(*) AS urls, count(*) FILTER (status = 'success') AS images,
               count(*) FILTER (status <> 'success') AS failed,
               mode(status ORDER BY status) FILTER (status <> 'success') AS reason
        FROM images WHERE host <> '' GROUP BY host ORDER BY failed DESC, urls DESC, host
    """,
    "funnel": """
        WITH steps AS (
            SELECT source, 1 AS position, 'URLs' AS step, count(*) AS count FROM urls GROUP BY source
            UNION ALL
            SELECT source, 2, 'images', count(*) FROM images WHERE status = 'success' GROUP BY source
            UNION ALL
            SELECT source, 3, 'distinct', count(*) FROM images ANTI JOIN raw_duplicates USING (key)
            WHERE status = 'success' AND source IN (SELECT source FROM duplicates) GROUP BY source
            UNION ALL
            SELECT source, 4, 'captioned', count(DISTINCT key) FROM captions WHERE origin <> 'web' GROUP BY source
            UNION ALL
            SELECT source, 5, 'passed', count(DISTINCT key) FROM captions WHERE "rank" IS NOT NULL GROUP BY source
            UNION ALL
            SELECT source, 6, 'kept', count(DISTINCT key) FROM captions WHERE kept GROUP BY source
            UNION ALL
            SELECT source, 7, 'captions kept', count(*) FROM captions WHERE kept GROUP BY source
        )
        SELECT source, step, count FROM steps ORDER BY source, position
    """,
}
"""The views that people ask, in the order in which they build on one another."""


def connect(graph: Graph, store: Store) -> Catalog:
    """An in-memory DuckDB with the catalog's views."""
    connection = duckdb.connect()
    if not store.is_local:
        connection.register_filesystem(fsspec.core.url_to_fs(store.root)[0])
    _define(connection, graph, store)
    return connection


def write_catalog(graph: Graph, store: Store) -> str:
    """Write the views as `catalog.duckdb` beside the tables; a reader has the old file or the new one, never half.

    Returns:
        The file's location.
    """
    with scratch_folder() as folder:
        path = folder / FILE
        with duckdb.connect(str(path)) as connection:
            if not store.is_local:
                connection.register_filesystem(fsspec.core.url_to_fs(store.root)[0])
            _define(connection, graph, store)
        location = f"{store.root}/{FILE}"
        write_whole(location, path.read_bytes())
    return location


def query(connection: Catalog, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and rows of a query.

    Raises:
        duckdb.Error: the query is wrong.
    """
    result = connection.sql(sql)
    return ([], []) if result is None else (result.columns, result.fetchall())


def _define(connection: duckdb.DuckDBPyConnection, graph: Graph, store: Store) -> None:
    for view, (stages, schema) in RAW.items():
        folders = [store.folder(stage, node.fingerprint) for stage in stages for node in graph.of_stage(stage)]
        small, large = _files(store, folders)
        named = "shard" in schema.names  # where it says itself of which shard a row is
        scans = [_scan(small, named=named)] if small else []
        scans += [_scan(large, named=True)] if large else []
        sql = " UNION ALL BY NAME ".join(scans) or _empty(connection, view, schema, named=named)
        connection.execute(f"CREATE VIEW {view} AS {sql}")
    for view, sql in JOINED.items():
        connection.execute(f"CREATE VIEW {view} AS {sql}")


def _files(store: Store, folders: Sequence[str]) -> tuple[list[str], list[str]]:
    """The tables of single shards, by name or by glob, and those of many."""
    small, large = [], []
    for folder in folders:
        shards, compacted = store.committed(folder), compaction(store, folder)
        large += [f"{folder}/{name}" for name in compacted.files]
        if compacted.files:
            small += [f"{folder}/{shard}{TABLE}" for shard in sorted(shards - compacted.shards)]
        elif shards:
            small.append(f"{folder}/*{TABLE}")
    return small, large


def _scan(globs: Sequence[str], *, named: bool) -> str:
    shard = "" if named else f", parse_filename({_PATH}, true) AS shard"
    listed = ", ".join("'" + glob.replace("'", "''") + "'" for glob in globs)
    return (
        f"SELECT * EXCLUDE ({_PATH}){shard} FROM read_parquet([{listed}], union_by_name = true, filename = '{_PATH}')"
    )


def _empty(connection: duckdb.DuckDBPyConnection, view: str, schema: pa.Schema, *, named: bool) -> str:
    """A select without rows that has the columns of `schema`."""
    connection.register(f"empty_{view}", schema.empty_table())
    described = connection.sql(f"DESCRIBE empty_{view}").fetchall()
    connection.unregister(f"empty_{view}")
    columns = ", ".join(f'CAST(NULL AS {kind}) AS "{name}"' for name, kind, *_ in described)
    return f"SELECT {columns}{'' if named else ', CAST(NULL AS VARCHAR) AS shard'} WHERE false"
