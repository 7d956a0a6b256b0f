"""`where` compares what formats without types say: the rows are those that DuckDB's own readers would keep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from stages.errors import UserError
from stages.urls import csv_file
from stages.urls.check import check
from stages.urls.types import type_of_texts, type_of_values

ROWS = [
    {"url": f"http://a.com/{number}", "text": str(number), "width": width, "height": 256, "score": score}
    | {"day": f"2020-01-{number + 10}", "safe": safe, "code": f"00{number}", "none": None}
    for number, (width, score, safe) in enumerate(
        [(1000, 0.5, True), (256, 1, False), (64, 2.5, True), (None, None, None), (300, -1e-3, True)]
    )
]
CONDITIONS = [
    "width >= 256",
    "width > height",
    "width BETWEEN 100 AND 500 AND score < 1",
    "safe",
    "NOT safe OR none > 3",
    "day >= DATE '2020-01-12'",
    "day > '2020-01-11' AND none IS NULL AND text LIKE '%2'",
    "CAST(width AS INTEGER) % 3 = 1 OR TRY_CAST(text AS DOUBLE) > 2",
]


def as_csv() -> str:
    lines = [",".join("" if value is None else str(value) for value in row.values()) for row in ROWS]
    return "\n".join([",".join(ROWS[0]), *lines])


def as_jsonl() -> str:
    return "\n".join(map(json.dumps, ROWS))


@pytest.mark.parametrize("where", CONDITIONS)
def test_csv(tmp_path: Path, read: Any, where: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(as_csv())
    types = "{'text': 'VARCHAR', 'none': 'BIGINT'}"
    expected = duckdb.sql(f"SELECT url FROM read_csv('{path}', types = {types}) WHERE {where}").fetchall()
    table = read(format="csv", path=str(path), url="url", text="text", where=where)
    assert table["url"].to_pylist() == [url for (url,) in expected]


@pytest.mark.parametrize("where", [*CONDITIONS, "code LIKE '00%' AND code <> '002'"])
@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_json(tmp_path: Path, read: Any, form: str, where: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(as_jsonl() if form == "jsonl" else json.dumps(ROWS))
    columns = dict.fromkeys(("url", "text", "code", "day"), "VARCHAR")
    columns |= {"width": "BIGINT", "height": "BIGINT", "score": "DOUBLE", "safe": "BOOLEAN", "none": "BIGINT"}
    where = where.replace("day >", "CAST(day AS DATE) >")
    expected = duckdb.sql(f"SELECT url FROM read_json('{path}', columns = {columns}) WHERE {where}").fetchall()
    table = read(format=form, path=str(path), url="url", text="text", where=where)
    assert table["url"].to_pylist() == [url for (url,) in expected]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "-2", None, ""], "BIGINT"),
        (["1", "2.5", "-.5e3", "nan"], "DOUBLE"),
        (["9" * 19], "DOUBLE"),
        (["True", "false"], "BOOLEAN"),
        (["2020-01-31"], "DATE"),
        (["2020-01-31", "2020-01-31 10:00:00.5"], "TIMESTAMP"),
        (["1", "n/a"], "VARCHAR"),
        (["1 "], "VARCHAR"),
        ([None, ""], '"NULL"'),
    ],
)
def test_what_texts_look_like(values: list[str | None], kind: str) -> None:
    assert type_of_texts(values) == kind


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, None], "BIGINT"),
        ([1, 2.5], "DOUBLE"),
        ([10**20], "DOUBLE"),
        ([True], "BOOLEAN"),
        ([True, 1], "VARCHAR"),
        (["1"], "VARCHAR"),
        ([[1]], "VARCHAR"),
        ([None], '"NULL"'),
    ],
)
def test_what_json_values_are(values: list[Any], kind: str) -> None:
    assert type_of_values(values) == kind


def test_texts_are_compared_with_numbers_only_by_a_cast_and_it_is_said_how(tmp_path: Path, source: Any) -> None:
    (tmp_path / "a.csv").write_text("URL,TEXT,WIDTH\nhttp://a.com,one,n/a\n", encoding="utf-8")
    message = r"explicit cast is required; TRY_CAST\(column AS DOUBLE\) makes .*; its columns are .*WIDTH \(VARCHAR\)"
    with pytest.raises(UserError, match=message):
        check("csv", source(format="csv", path=str(tmp_path / "a.csv"), where="WIDTH >= 256"))


@pytest.mark.parametrize(("first", "kind"), [("1", "BIGINT"), ("", '"NULL"')])
def test_a_later_value_of_another_kind_is_told(
    tmp_path: Path, read_damaged: Any, monkeypatch: pytest.MonkeyPatch, first: str, kind: str
) -> None:
    monkeypatch.setattr(csv_file, "SAMPLE", 2)
    lines = [f"http://a.com/{value},x,{value}" for value in (first, first, "many", "2.5", "")]
    (tmp_path / "a.csv").write_text("\n".join(["url,text,n", *lines]))
    settings = {"format": "csv", "path": str(tmp_path / "a.csv"), "url": "url", "text": "text", "keep": ("n",)}
    table, damage = read_damaged(**settings, where="n < 9 OR n IS NULL")
    assert table["n"].to_pylist() == [first or None, first or None, "many", "2.5", None]
    assert damage.counts == {"emptied": 2}
    assert f"(first line 4: 'n' is no {kind}, which `where` takes it for)" in damage.words
