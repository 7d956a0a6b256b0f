"""A committed table is read as pyarrow reads it, in the columns asked for."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.errors import DamagedError
from stages.io.shards import Artifact

TABLE = pa.table(
    {
        "key": ["a", "b", "c"],
        "texts": pa.array([["one", None], None, []], pa.list_(pa.string())),
        "said": pa.array([{"by": "x", "in": [1]}, None, {"by": None, "in": None}]),
        "score": pa.array([0.5, None, 2.0], pa.float32()),
    }
).replace_schema_metadata({"stage": "x"})


@pytest.fixture
def url(tmp_path: Path) -> str:
    path = tmp_path / "a.parquet"
    pq.write_table(TABLE, path, row_group_size=2)
    return str(path)


@pytest.mark.parametrize("columns", [None, ["score", "texts"], ["said"]])
def test_a_table_is_what_pyarrow_reads(url: str, columns: list[str] | None) -> None:
    found = Artifact(url).table(columns)
    assert found.equals(pq.read_table(url, columns=columns), check_metadata=True)
    left = Artifact(url, frozenset("b")).table(columns)
    assert left.equals(TABLE.select(columns if columns is not None else TABLE.column_names).take([0, 2]))


@pytest.mark.parametrize("without", [frozenset[str](), frozenset("b")])
def test_a_table_that_lacks_a_column_is_damaged(url: str, without: frozenset[str]) -> None:
    with pytest.raises(DamagedError, match=r"a\.parquet.*no column sha256"):
        Artifact(url, without).table(["key", "sha256"])
