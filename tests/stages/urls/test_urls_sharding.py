"""Cutting: the shards one after the other are the input."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.urls import objects, parquet
from stages.urls.sharding import cut


def batches(sizes: list[int]) -> list[pa.RecordBatch]:
    starts = [sum(sizes[:at]) for at in range(len(sizes))]
    return [
        pa.RecordBatch.from_pydict({"n": pa.array(range(start, start + size), pa.int64())})
        for start, size in zip(starts, sizes, strict=True)
    ]


@given(sizes=st.lists(st.integers(0, 40)), size=st.integers(1, 25))
def test_the_shards_are_the_rows_in_order(sizes: list[int], size: int) -> None:
    tables = list(cut(batches(sizes), size))
    assert [n for table in tables for n in table.column("n").to_pylist()] == list(range(sum(sizes)))
    assert all(table.num_rows == size for table in tables[:-1])
    assert all(0 < table.num_rows <= size for table in tables)


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_file_of_several_batches(tmp_path: Any, read: Any, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    import pyarrow.parquet as pq

    from stages.urls import batch

    monkeypatch.setattr(batch.chunks, "__defaults__", (7,))
    monkeypatch.setattr(parquet, "BATCH_ROWS", 7)
    monkeypatch.setattr(objects, "SAMPLE", 2)
    urls = [f"http://a.com/{number}.jpg" for number in range(100)]
    if form == "jsonl":
        lines = (f'{{"URL": "{url}", "TEXT": "{number}"}}\n' for number, url in enumerate(urls))
        (tmp_path / "a.jsonl").write_text("".join(lines), encoding="utf-8")
    else:
        table = pa.table({"URL": urls, "TEXT": [str(number) for number in range(100)]})
        pq.write_table(table, tmp_path / "a.parquet", row_group_size=13)
    settings = {"format": form, "path": str(tmp_path / "a.*"), "where": "CAST(TEXT AS INTEGER) % 3 = 0"}
    table = read(shard_size=10, **settings)
    assert table.column("url").to_pylist() == urls[::3]
    assert len(set(table.column("key").to_pylist())) == 34


def test_a_part_without_a_row_left_makes_no_shard(tmp_path: Any, source: Any) -> None:
    from stages.urls.compute import Urls
    from stages.urls.damage import Damage
    from stages.urls.known import Known
    from stages.urls.parts import find_parts
    from stages.urls.spec import UrlsRecipe, UrlsRun

    (tmp_path / "a.csv").write_text("URL,TEXT\nhttp://a.com/1.jpg,one\n", encoding="utf-8")
    (tmp_path / "b.csv").write_text("URL,TEXT\n", encoding="utf-8")
    parts = find_parts("web", source(format="csv", path=str(tmp_path / "*.csv"), where="TEXT = 'two'"))
    assert [list(Urls(UrlsRecipe(), UrlsRun())(part, Damage("x"), Known(part.file))) for part in parts] == [[], []]
