"""A list's own columns in the views: whatever they are called, and whatever types they have from file to file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from test_cli import LOCAL, capfilt

from pipeline.dag.graph import Graph
from pipeline.sql import compaction
from pipeline.sql.catalog import connect
from pipeline.sql.column_types import _kind, without_common_type
from pipeline.sql.scan import PATH
from pipeline.sql.views import views
from pipeline.store import Store
from stages.kinds import KINDS
from stages.own_columns import OURS

VIEWS = (*(kind.view for kind in KINDS.values()), *(view for view, _ in views(Graph({}))), "listings")
ODD = ["order", "filename", "file_row_number", "a.b", 'q"x', "new\nline", "🙂", " ", "", "x" * 300, "É", "é", "K", "\0"]
"""Names that are keywords, DuckDB's own, or hard to write; the last but one is the sign of the kelvin."""


def test_ours_are_the_columns_of_every_view(tmp_path: Path) -> None:
    catalog = connect(Graph({}), Store.open(str(tmp_path))).connection
    views = {name.casefold() for view in VIEWS for name in catalog.sql(f"FROM {view}").columns}
    assert views | {PATH} == OURS  # a new column of a view belongs to OURS


def write(**sources: Any) -> None:
    stages = {"caption": {"model": "nowhere"}, "rank": {"model": "nowhere"}, "select": {"itm_threshold": None}}
    Path("m.yaml").write_text(yaml.safe_dump({"output": "out", "sources": sources, **stages}, sort_keys=False))


def lists(name: str, *columns: dict[str, pa.Array]) -> None:
    """Files of a list, each with two rows and these columns beside the address and the text."""
    for number, own in enumerate(columns):
        addresses = [f"http://127.0.0.1:1/{name}/{number}/{row}" for row in range(2)]
        table = pa.table({"the url": addresses, "the text": ["a", "b"], **own})
        pq.write_table(table, f"{name}{number}.parquet")


def source(name: str, *keep: str) -> dict[str, Any]:
    return {"format": "parquet", "path": f"{name}*.parquet", "url": "the url", "text": "the text", "keep": list(keep)}


def ask(capsys: pytest.CaptureFixture[str], sql: str) -> list[dict[str, Any]]:
    code, out, err = capfilt(capsys, "query", "m.yaml", sql, "--json")
    assert code == 0, err
    return json.loads(out)


def test_columns_of_any_name(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = [*sorted(OURS), "Caption", "list_rank", *(name for name in ODD if "\0" not in name)]  # no manifest has NUL
    lists("a", {name: pa.array([f"{name} 0", f"{name} 1"]) for name in names})
    write(a=source("a", *names))
    assert capfilt(capsys, *LOCAL, "--until", "urls")[0] == 0
    (first, _) = ask(capsys, "SELECT * FROM urls ORDER BY key")
    assert (first["url"], first["text"], first["source"]) == ("http://127.0.0.1:1/a/0/0", "a", "a")
    told = {name: value.removesuffix(" 0") for name, value in first.items() if str(value).endswith(" 0")}
    assert sorted(told.values()) == sorted(names)
    kept = [name for name in names if name.casefold() not in OURS and name not in ("", "é")]
    assert {name: told[name] for name in kept} == {name: name for name in kept}
    assert (told["list_caption"], told["list_list_Caption"], told["list_list_rank"]) == ("caption", "Caption", "rank")
    assert (told["list_url"], told["list_table_path"], told["list_"]) == ("url", "table_path", "")
    with duckdb.connect("out/catalog.duckdb", read_only=True) as catalog:
        for view in VIEWS:
            catalog.sql(f"FROM {view}").fetchall()
    assert capfilt(capsys, "status", "m.yaml")[0] == 0


TYPES = {
    "numbers": ([1, 2], [2.5, None], [1.0, 2.0, 2.5, None]),
    "words": ([1, None], ["x", "1"], ["1", None, "x", "1"]),
    "list": ([["a"], []], ["b", "[c"], ['["a"]', "[]", "b", "[c"]),
    "struct": ([{"x": 1}, None], [5, 6], ['{"x":1}', None, "5", "6"]),
    "deep": ([[{"x": [1]}], None], [[{"x": "y"}], []], ['[{"x":[1]}]', None, '[{"x":"y"}]', "[]"]),
    "wider": ([{"x": 1}, None], [{"y": "a"}, None], [{"x": 1, "y": None}, None, {"x": None, "y": "a"}, None]),
    "nothing": ([None, None], [["a"], None], [None, None, ["a"], None]),
    "empty": ([[], None], [["a"], []], [[], None, ["a"], []]),
    "not a number": ([float("nan"), float("-inf")], [1, 2], [float("nan"), float("-inf"), 1.0, 2.0]),
    "flag": ([True, False], [1, 0], ["true", "false", "1", "0"]),
    "bytes": ([b"\xff", b"a"], ["é", "b"], ["\\xFF", "a", "é", "b"]),
}


def same(found: Any, wanted: Any) -> bool:
    return plain(found) == plain(wanted)


def plain(value: Any) -> str:
    """A value as text, since NaN is no NaN; the fields of a struct in the order of their names."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {plain(value[name])}' for name in sorted(value))}}}"
    return f"[{', '.join(map(plain, value))}]" if isinstance(value, list) else str(value)


def test_columns_of_any_type(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compaction, "SHARDS", 1)
    first, second = ({name: pa.array(values[at]) for name, values in TYPES.items()} for at in (0, 1))
    lists("a", first, second, second)
    lists("b", {"Words": pa.array([[1], None])})
    latin = pa.Array.from_buffers(pa.string(), 2, pa.array([b"caf\xe9", b"a"]).buffers())
    lists("c", {"odd": latin})
    write(a=source("a", *TYPES), b=source("b", "Words"), c=source("c", "odd"))
    assert capfilt(capsys, *LOCAL, "--until", "urls")[0] == 0
    for tables in ("small", "large"):
        if tables == "large":
            assert capfilt(capsys, "compact", "m.yaml")[0] == 0
        with duckdb.connect("out/catalog.duckdb", read_only=True) as catalog:
            rows = catalog.sql("SELECT * FROM urls ORDER BY source, url").to_arrow_table().to_pylist()
            assert catalog.sql("SELECT count(*) FROM captions").fetchall() == [(0,)]
        for name, (*_, wanted) in TYPES.items():
            assert same([row[name] for row in rows][:4], wanted), name
        assert [row["words"] for row in rows][6:8] == ["[1]", None]
        assert [row["odd"] for row in rows][8:] == ["caf\ufffd", "a"]
    (least,) = ask(capsys, 'SELECT min("not a number") AS least, max("not a number") AS most FROM urls')
    assert least == {"least": None, "most": None}  # JSON has neither -inf nor NaN


def test_a_large_table_has_the_types_of_the_small_ones(tmp_path) -> None:
    """Were they others, a column would be text before a compaction and a number after it."""
    whole = [*(pa.int8(), pa.uint64(), pa.float16(), pa.float64()), pa.duration("s"), pa.decimal128(7, 2)]
    others = [pa.null(), pa.bool_(), pa.string_view(), pa.large_string(), pa.binary(3), pa.date32(), pa.date64()]
    times = [
        pa.time32("ms"),
        pa.time64("ns"),
        *(pa.timestamp(unit, zone) for unit in ("s", "ns") for zone in (None, "CET")),
    ]
    nested = [
        pa.list_(pa.int8(), 2),
        pa.map_(pa.string(), pa.date64()),
        pa.struct([("x", pa.large_list(pa.float16()))]),
    ]
    columns = [*whole, *others, *times, *nested, pa.decimal256(50, 2), pa.dictionary(pa.int8(), pa.int64())]
    small = pa.table({str(number): pa.nulls(1, type_) for number, type_ in enumerate(columns)})
    pq.write_table(small, tmp_path / "small.parquet")
    duckdb.execute(f"COPY (FROM '{tmp_path}/small.parquet') TO '{tmp_path}/large.parquet'")
    large = pq.read_schema(tmp_path / "large.parquet")
    assert [_kind(field.type) for field in large] == [_kind(type_) for type_ in columns]


def test_types_that_go_together() -> None:
    def apart(*types: pa.DataType) -> bool:
        return bool(without_common_type([pa.schema([("A" if at else "a", found)]) for at, found in enumerate(types)]))

    text, number = pa.string(), pa.int64()
    together = [
        (text, pa.large_string(), pa.dictionary(pa.int8(), text), pa.null()),
        (number, pa.uint8(), pa.float16(), pa.null(), pa.float64()),
        (pa.list_(pa.null()), pa.large_list(number), pa.list_(pa.float32(), 2)),
        (pa.struct([("x", number)]), pa.struct([("y", text)]), pa.null(), pa.struct([("x", pa.float32())])),
        (pa.map_(text, number), pa.map_(text, pa.float32())),
        (pa.decimal128(5, 2), pa.decimal128(5, 2)),
    ]
    others = [
        (text, number),
        (text, pa.binary()),
        (number, pa.bool_()),
        (number, pa.decimal128(38, 37)),
        (pa.date32(), pa.timestamp("us")),
        (pa.timestamp("us"), pa.timestamp("us", "UTC")),
        (pa.list_(number), number),
        (pa.list_(number), pa.list_(text)),
        (pa.struct([("x", number)]), pa.struct([("X", text)])),
        (pa.null(), pa.struct([("x", number)]), pa.null(), text),
    ]
    assert [apart(*types) for types in together] == [False] * len(together)
    assert [apart(*types) for types in others] == [True] * len(others)
