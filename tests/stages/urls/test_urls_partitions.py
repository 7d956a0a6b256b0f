"""Folders called `name=value` are columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.urls.partitions import partitions
from stages.urls.parts import find_parts


def address(lang: str, part: object) -> str:
    return f"http://a.com/{lang}/{part}.jpg"


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    for lang in ("de", "en"):
        for part in (0, 10):
            folder = tmp_path / "lists" / f"lang={lang}" / f"part={part}"
            folder.mkdir(parents=True)
            url = address(lang, part)
            pq.write_table(pa.table({"URL": [url], "TEXT": ["one"]}), folder / "X.PARQUET")
            (folder / "a.csv").write_text(f"URL,TEXT\n{url},one\n")
            (folder / "a.jsonl").write_text(f'{{"URL": "{url}", "TEXT": "one"}}\n')
            (folder / "_SUCCESS").touch()
            (folder / "._X.parquet").write_bytes(b"a Mac's")
    (tmp_path / "lists" / "other").mkdir()
    (tmp_path / "lists" / "other" / "b.parquet").write_bytes(b"not asked for")
    return tmp_path / "lists"


@pytest.mark.parametrize("form", ["laion", "csv", "jsonl"])
def test_a_partitioned_folder(lists: Path, read: Any, form: str) -> None:
    table = read(format=form, path=str(lists), keep=("lang", "PART"), where="part >= 2 OR lang = 'de'")
    assert table.select(["url", "lang", "PART"]).to_pylist() == [
        {"url": address("de", 0), "lang": "de", "PART": "0"},
        {"url": address("de", 10), "lang": "de", "PART": "10"},
        {"url": address("en", 10), "lang": "en", "PART": "10"},
    ]


def test_they_are_those_that_duckdb_finds(lists: Path, read: Any) -> None:
    pattern = f"{lists}/**/*.PARQUET"
    query = f"SELECT URL, lang, part::VARCHAR FROM read_parquet('{pattern}', hive_partitioning = true) ORDER BY URL"
    table = read(format="parquet", path=pattern, keep=("lang", "part"))
    assert [tuple(row.values()) for row in table.select(["url", "lang", "part"]).to_pylist()] == duckdb.sql(
        query
    ).fetchall()


def test_values_of_folders() -> None:
    assert partitions("s3://a=b/c/year=2020/t%C3%A4g=a%2Fb/n=__HIVE_DEFAULT_PARTITION__/x=1.parquet") == {
        "a": "b",
        "year": "2020",
        "täg": "a/b",
        "n": None,
    }


def test_a_files_own_column_counts(tmp_path: Path, read: Any) -> None:
    folder = tmp_path / "LANG=fr"
    folder.mkdir()
    pq.write_table(pa.table({"URL": ["a"], "TEXT": ["one"], "lang": ["it"]}), folder / "a.parquet")
    assert read(format="laion", path=str(folder), keep=("lang",))["lang"].to_pylist() == ["it"]


def test_only_what_is_asked_of_folders_is_part_of_the_content(tmp_path: Path, source: Any) -> None:
    def digest(folder: str, **settings: Any) -> str:
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "a.csv").write_text("URL,TEXT\n")
        return find_parts("web", source(format="csv", path=str(tmp_path / folder / "a.csv"), **settings))[0].digest

    assert digest("run=1") == digest("run=2") == digest("plain", where="TEXT > 'run'")
    assert digest("run=1", keep=("run",)) != digest("run=2", keep=("run",))
    assert digest("run=1", where="run = 1") != digest("run=2", where="run = 1")


def test_what_is_beside_the_data_is_passed_over(tmp_path: Path, source: Any) -> None:
    names = ["a.csv", "_b.csv", "._a.csv", ".DS_Store", "_SUCCESS", "_metadata", "__MACOSX/a.csv", ".hidden/a.csv"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("URL,TEXT\n")

    def found(path: str) -> list[str]:
        parts = find_parts("web", source(format="csv", path=str(tmp_path / path)))
        return [str(Path(part.files[0]).relative_to(tmp_path)) for part in parts]

    assert found("*") == found("**/*") == found(".") == ["_b.csv", "a.csv"]
    assert found("._*") == ["._a.csv"]
    assert found("_SUCCESS") == ["_SUCCESS"]
    assert found("__MACOSX/*") == ["__MACOSX/a.csv"]


@pytest.mark.parametrize("path", ["~/lists/*.csv", "~/lists/a.csv", "~/lists"])
def test_a_tilde_is_the_home_folder(tmp_path: Path, read: Any, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "a.csv").write_text("URL,TEXT\nhttp://a.com,one\n")
    assert read(format="csv", path=path)["text"].to_pylist() == ["one"]
