"""Large tables beside small ones: queries say the same, and nothing that changes or goes stays in them."""

from __future__ import annotations

import json
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from picture_web import Web

from pipeline.dag.graph import Graph
from pipeline.session import open_session
from pipeline.sql import compaction
from pipeline.sql.views import views
from pipeline.upkeep.clean import clean
from stages.kinds import KINDS
from tests.pipeline.command import capfilt
from tests.pipeline.test_cli import LOCAL

PATHS = ["/1", "/2", "/again/1", "/3", "/4", "/5", "/6"]
RUN = (*LOCAL, "--until", "download")


@pytest.fixture
def folder(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A run up to its download, two rows a shard, one of them lost."""
    monkeypatch.chdir(tmp_path)
    rows = [f"{web.url(path)},text of {path},own {path}" for path in PATHS]
    Path("list.csv").write_text("\n".join(["URL,TEXT,ALT", *rows]) + "\n")
    Path("removed.txt").touch()
    Path("m.yaml").write_text("""\
output: out
removed: removed.txt
sources:
  web: {format: csv, path: list.csv, keep: [ALT]}
urls: {shard_size: 2}
download: {image_size: 32, encode_format: png, encode_quality: 1, allow_addresses: [127.0.0.1], retries: 0}
caption: {model: nowhere/model}
rank: {model: nowhere/model}
select: {itm_threshold: null}
""")
    web.down.add("/3")
    assert capfilt(capsys, *RUN)[0] == 0
    web.down.clear()
    return tmp_path


def columns() -> dict[str, set[str]]:
    known = (*(kind.view for kind in KINDS.values()), *(view for view, _ in views(Graph({}))))
    with duckdb.connect("out/catalog.duckdb", read_only=True) as connection:
        return {view: set(connection.sql(f"FROM {view}").columns) for view in known}


def by_name() -> dict[str, list[dict[str, Any]]]:
    """Every row of the views that hold something, whatever the order of columns."""
    found = {}
    with duckdb.connect("out/catalog.duckdb", read_only=True) as connection:
        for view in ("urls", "raw_images", "images", "failures", "losses", "hosts", "funnel"):
            table = connection.sql(f"FROM {view}").to_arrow_table()
            ordered = table.select(sorted(table.column_names)).to_pylist()
            found[view] = sorted(ordered, key=lambda row: json.dumps(row, default=str))
    return found


def compacted() -> list[str]:
    return sorted(str(path) for path in Path("out").rglob("compacted/*"))


def test_queries_say_the_same(folder, capsys):
    before, names = by_name(), columns()
    code, out, _ = capfilt(capsys, "compact", "m.yaml", "--json")
    assert (code, json.loads(out)) == (0, {"shards": 8, "files": 2})
    assert by_name() == before
    assert columns() == names
    assert [str(path.parent.parent.parent) for path in map(Path, compacted())] == ["out/download", "out/urls"]
    # and the small tables are not read for it
    for path in Path("out").glob("*/*/web-*.parquet"):
        path.rename(path.with_suffix(".away"))
    assert by_name() == before
    for path in Path("out").glob("*/*/web-*.away"):
        path.rename(path.with_suffix(".parquet"))
    code, out, _ = capfilt(capsys, "compact", "m.yaml", "--json")
    assert json.loads(out) == {"shards": 0, "files": 0}


def test_later_shards_are_read_beside_them(folder, capsys):
    before = by_name()
    late = [*Path("out").glob("*/*/web-*-00002-*.parquet"), *Path("out").glob("*/*/web-*-00003-*.parquet")]
    for path in late:
        path.rename(path.with_suffix(".late"))
    assert json.loads(capfilt(capsys, "compact", "m.yaml", "--json")[1]) == {"shards": 4, "files": 2}
    for path in late:
        path.with_suffix(".late").rename(path)
    assert capfilt(capsys, *RUN)[0] == 0
    assert by_name() == before
    assert json.loads(capfilt(capsys, "compact", "m.yaml", "--json")[1]) == {"shards": 4, "files": 2}
    assert by_name() == before


def test_a_retry_reads_what_it_changed(folder, web, capsys):
    capfilt(capsys, "compact", "m.yaml")
    assert capfilt(capsys, "retry", *RUN[1:])[0] == 0
    assert [row["status"] for row in by_name()["images"]] == ["success"] * len(PATHS)
    assert len(compacted()) == 2  # a retry changes no table: its shards are read beside the large ones


def test_what_is_forgotten_is_forgotten_there_too(folder, web, capsys):
    capfilt(capsys, "compact", "m.yaml")
    assert capfilt(capsys, "forget", "m.yaml", web.url("/4"))[0] == 0
    assert compacted() == []
    left = {row["url"]: row for row in by_name()["images"]}
    assert left[web.url("/4")]["status"] == "removed"
    assert left[web.url("/4")]["text"] is None
    assert left[web.url("/5")]["text"] == "text of /5"
    before = by_name()
    capfilt(capsys, "compact", "m.yaml")
    assert by_name() == before


def test_a_forget_needs_no_source(folder, web, capsys):
    capfilt(capsys, "compact", "m.yaml")
    Path("list.csv").unlink()
    code, _, err = capfilt(capsys, "forget", "m.yaml", web.url("/4"))
    assert (code, err) == (0, "")
    assert compacted() == []
    assert [row["status"] for row in by_name()["images"] if row["url"] == web.url("/4")] == ["removed"]


def test_one_that_died_leaves_what_clean_takes(folder, capsys, monkeypatch):
    before = by_name()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))  # for the scratch folders of this machine are cleaned too

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    session = open_session(Path("m.yaml"))
    with monkeypatch.context() as patch:
        patch.setattr(compaction, "write_whole", die)
        with pytest.raises(KeyboardInterrupt):
            compaction.compact(session.graph, session.store)
    (left,) = compacted()
    assert by_name() == before
    found = clean(session.store, older_than=timedelta(0), keep=None, dry_run=False)
    assert [str(Path(path).relative_to(folder)) for path in found.strays] == [left]
    capfilt(capsys, "compact", "m.yaml")
    assert clean(session.store, older_than=timedelta(0), keep=None, dry_run=False).strays == []
    assert by_name() == before


def test_large_tables_have_a_size(folder, capsys, monkeypatch):
    monkeypatch.setattr(compaction, "SHARDS", 2)
    before = by_name()
    assert json.loads(capfilt(capsys, "compact", "m.yaml", "--json")[1]) == {"shards": 8, "files": 4}
    assert by_name() == before


def test_a_run_puts_many_small_tables_together(folder, web, capsys, monkeypatch):
    before = by_name()
    monkeypatch.setattr("pipeline.run.MANY", 4)
    assert capfilt(capsys, *RUN)[0] == 0
    assert len(compacted()) == 2
    assert by_name() == before
    monkeypatch.setattr("pipeline.run.MANY", 5)
    assert capfilt(capsys, "retry", *RUN[1:])[0] == 0  # whose few shards are not enough for another
    assert len(compacted()) == 2


def test_files_of_a_list_may_give_a_column_other_types(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compaction, "SHARDS", 1)
    columns = {"1": pa.array([1, 2]), "2": pa.array([2.5, None]), "3": pa.array(["a", "b"])}
    for name, column in columns.items():
        urls = [f"http://127.0.0.1:1/{name}/{row}" for row in range(2)]
        pq.write_table(pa.table({"URL": urls, "TEXT": ["t", "t"], "own": column}), f"{name}.parquet")
    Path("m.yaml").write_text("""\
output: out
sources: {mine: {format: parquet, path: "*.parquet", keep: [own]}}
urls: {shard_size: 1}
caption: {model: nowhere/model}
rank: {model: nowhere/model}
select: {itm_threshold: null}
""")
    assert capfilt(capsys, *LOCAL, "--until", "urls")[0] == 0
    ask = ("query", "m.yaml", "SELECT own FROM urls ORDER BY url", "--json")
    before = json.loads(capfilt(capsys, *ask)[1])
    assert [row["own"] for row in before] == ["1", "2", "2.5", None, "a", "b"]
    capfilt(capsys, "compact", "m.yaml")
    assert json.loads(capfilt(capsys, *ask)[1]) == before
