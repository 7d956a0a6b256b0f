"""Finds the texts that too many images of a source have: DuckDB counts them, on disk where memory ends.

All tables are read twice. The first time 16 bytes are kept of each text of each image, to be counted; the second time
whole rows, of the few texts that are common.
"""

from __future__ import annotations

from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from stages.candidates import read_candidates
from stages.contract import AtOnceRunOptions, CorpusJob, CorpusShard, Output
from stages.io.side_by_side import side_by_side
from stages.repeats.spec import RepeatsRecipe
from stages.tables import REPEATS
from stages.texts import common_form

READERS: Final = 8
"""Shards that are read at once."""

_TEXTS: Final = "CREATE TABLE texts (text UHUGEINT)"
_ADD_TEXTS: Final = "INSERT INTO texts SELECT md5_number(form) FROM (SELECT DISTINCT key, form FROM candidates)"
_COMMON: Final = "CREATE TABLE common AS SELECT text, count(*) AS images FROM texts GROUP BY text HAVING count(*) > ?"
_ROWS: Final = """
    CREATE TABLE found (
        key VARCHAR, shard VARCHAR, writer VARCHAR, candidate SMALLINT, human BOOLEAN, text UHUGEINT, images BIGINT
    )
"""
_ADD_ROWS: Final = """
    INSERT INTO found
    SELECT key, ?, writer, candidate, human, text, images
    FROM (SELECT *, md5_number(form) AS text FROM candidates) JOIN common USING (text)
"""
_VERDICTS: Final = """
    WITH places AS (
        SELECT key, text, row_number() OVER (PARTITION BY text ORDER BY human DESC, md5_number(key || text)) AS place
        FROM (SELECT key, text, bool_or(human) AS human FROM found GROUP BY key, text)
    )
    SELECT key, shard, writer, candidate, images
    FROM found JOIN places USING (key, text) WHERE place > ? AND NOT human ORDER BY shard, key, writer, candidate
"""


class Repeats:
    """The repeats stage's compute."""

    def __init__(self, recipe: RepeatsRecipe, run: AtOnceRunOptions) -> None:
        self._most = recipe.most
        self._memory = run.memory

    def __call__(self, work: CorpusJob) -> Output:
        """Judge the candidates of a source; the table is `tables.REPEATS`, ordered by shard and key."""
        with duckdb.connect(str(work.scratch / "repeats.duckdb")) as database:
            database.execute(f"SET memory_limit = '{self._memory}GB'")
            for statement in (_TEXTS, _ROWS):
                database.execute(statement)
            _add(database, work, _ADD_TEXTS)
            database.execute(_COMMON, [self._most])
            (common,) = database.sql("SELECT count(*) FROM common").fetchall()[0]
            if common:
                _add(database, work, _ADD_ROWS)
            table = database.sql(_VERDICTS, params=[self._most]).to_arrow_table().cast(REPEATS)
        return Output(table, counts={"common texts": common, "images": len(table["key"].unique())})


def _add(database: duckdb.DuckDBPyConnection, work: CorpusJob, statement: str) -> None:
    """Read the candidates shard by shard into a table."""
    for shard, candidates in side_by_side(_read, work.corpus, threads=READERS, at_once=READERS):
        database.register("candidates", candidates)
        database.execute(statement, [shard.shard] if "?" in statement else [])


def _read(shard: CorpusShard) -> pa.Table:
    """The candidates that say something of their own image, each with what equal texts have in common."""
    table = read_candidates(shard, ["origin", "caption"])
    forms = pa.array(map(common_form, table["caption"].to_pylist()), pa.string())
    table = table.append_column("form", forms).append_column("human", pc.equal(table["origin"], "human"))
    return table.filter((pc.field("form") != "") & (pc.field("origin") != "shuffled"))
