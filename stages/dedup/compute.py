"""Finds the copies in a source: DuckDB holds a row per image and does the joins, on disk where memory ends.

An image is a copy if an *earlier* one has its address, its bytes or its looks. Earlier are, in this order:

1. what came without a retry before what a retry brought, so that a retry never turns an image that has captions into
   the copy of one that has none;
2. the sources above, then the image's own;
3. within a source, keys in their order.

So each rule's verdict about an image hangs on nothing that comes later. That an earlier image may be a copy itself
makes no difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa

from stages.contract import AtOnceRunOptions, CorpusJob, CorpusShard, Output
from stages.dedup.spec import DedupRecipe
from stages.io.side_by_side import side_by_side
from stages.tables import DUPLICATES

READERS: Final = 8
"""Shards that are read at once."""

_IMAGES = """
    CREATE TABLE images (
        key VARCHAR, shard VARCHAR, source VARCHAR, own BOOLEAN, retry SMALLINT,
        url UHUGEINT, content UHUGEINT, looks UBIGINT
    )
"""
_ADD = """
    INSERT INTO images
    SELECT key, ?, ?, ?, retry, md5_number(nullif(trim(url), '')), md5_number(sha256), {looks}
    FROM downloaded {hashes} WHERE status = 'success'
"""
_NUMBER = """
    CREATE TABLE numbered AS
    SELECT row_number() OVER (ORDER BY retry, own, source, key) AS number, * FROM images
"""
_SAME = """
    CREATE TABLE by_{rule} AS
    SELECT number, first FROM (
        SELECT number, own, min(number) OVER (PARTITION BY {column}) AS first FROM numbered WHERE {column} IS NOT NULL
    ) WHERE own AND first < number
"""
_DISTINCT_LOOKS = "CREATE TABLE distinct_looks AS SELECT looks, min(number) AS first FROM numbered GROUP BY looks"
_BANDS = """
    CREATE TABLE bands AS
    SELECT looks, first, band, (looks >> starts[band]) & ((1::UBIGINT << widths[band]) - 1) AS bits
    FROM distinct_looks, (SELECT {starts}::INTEGER[] AS starts, {widths}::INTEGER[] AS widths),
         range(1, {bands} + 1) AS of_band(band)
"""
_NEAR = """
    CREATE TABLE by_near AS
    WITH reach AS (
        SELECT one.looks, min(other.first) AS first
        FROM bands AS one JOIN bands AS other USING (band, bits)
        WHERE bit_count(xor(one.looks, other.looks)) <= {near}
        GROUP BY one.looks
    )
    SELECT number, first FROM numbered JOIN reach USING (looks) WHERE own AND first < number
"""
_VERDICTS = """
    SELECT copy.key, copy.shard, original.key AS original, rule
    FROM (
        SELECT number, arg_min(first, position) AS first, arg_min(rule, position) AS rule FROM ({found}) GROUP BY number
    )
    JOIN numbered AS copy USING (number) JOIN numbered AS original ON original.number = first
    ORDER BY copy.shard, copy.key
"""


class Dedup:
    """The dedup stage's compute."""

    def __init__(self, recipe: DedupRecipe, run: AtOnceRunOptions) -> None:
        self._recipe = recipe
        self._memory = run.memory

    def __call__(self, work: CorpusJob) -> Output:
        """Judge the last of the job's sources; the table is `tables.DUPLICATES`, ordered by shard and key."""
        with _database(work.scratch, self._memory) as database:
            database.execute(_IMAGES)
            _load(database, work, with_looks=self._recipe.near is not None)
            database.execute(_NUMBER)
            table = self._judge(database)
            own = database.sql("SELECT count(*) FROM numbered WHERE own").fetchall()[0][0]
        counts = {rule: table["rule"].to_pylist().count(rule) for rule in self._rules}
        return Output(table, counts={"images": own, **counts})

    @property
    def _rules(self) -> list[str]:
        """What is asked for, in the order in which a copy is explained."""
        wanted = {"url": self._recipe.url, "content": self._recipe.content, "near": self._recipe.near is not None}
        return [rule for rule, asked in wanted.items() if asked]

    def _judge(self, database: duckdb.DuckDBPyConnection) -> pa.Table:
        for rule in self._rules:
            if rule == "near" and self._recipe.near:
                _find_near(database, self._recipe.near)
            else:
                database.execute(_SAME.format(rule=rule, column="looks" if rule == "near" else rule))
        if not self._rules:
            return DUPLICATES.empty_table()
        found = " UNION ALL ".join(
            f"SELECT number, first, '{rule}' AS rule, {position} AS position FROM by_{rule}"  # noqa: S608 - own words
            for position, rule in enumerate(self._rules)
        )
        return database.sql(_VERDICTS.format(found=found)).to_arrow_table().cast(DUPLICATES)


def _find_near(database: duckdb.DuckDBPyConnection, near: int) -> None:
    """Two hashes that differ in n bits agree in one of n + 1 bands (the pigeonhole principle), so few are compared."""
    edges = [64 * band // (near + 1) for band in range(near + 2)]
    widths = [end - start for start, end in pairwise(edges)]
    database.execute(_DISTINCT_LOOKS)
    database.execute(_BANDS.format(starts=edges[:-1], widths=widths, bands=near + 1))
    database.execute(_NEAR.format(near=near))


@contextmanager
def _database(scratch: Path, memory: float) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(str(scratch / "dedup.duckdb")) as database:
        database.execute(f"SET memory_limit = '{memory}GB'")
        yield database


def _load(database: duckdb.DuckDBPyConnection, work: CorpusJob, *, with_looks: bool) -> None:
    """A row for every downloaded image of the corpus, shard by shard."""
    add = _ADD.format(
        looks="hash" if with_looks else "NULL", hashes="LEFT JOIN hashes USING (key)" if with_looks else ""
    )
    judged = work.sources[-1]
    for shard, tables in side_by_side(_read, work.corpus, threads=READERS, at_once=READERS):
        for name, table in tables.items():
            database.register(name, table)
        database.execute(add, [shard.shard, shard.source, shard.source == judged])


def _read(shard: CorpusShard) -> dict[str, pa.Table]:
    tables = {"downloaded": shard.one("images").table(["key", "url", "status", "sha256", "retry"])}
    hashes = shard.maybe("hashes")
    return tables if hashes is None else tables | {"hashes": hashes.table()}
