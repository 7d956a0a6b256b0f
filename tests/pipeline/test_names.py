"""Outputs below folders with names that a library takes for a pattern, and the catalog that moves with its tables."""

from __future__ import annotations

import json
import shutil
import tarfile
from datetime import timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from picture_web import Web, serving
from test_cli import LOCAL, capfilt

from pipeline.dag.graph import Graph, Node
from pipeline.sql.compaction import compact
from pipeline.sql.scan import SHARD, Tables, below, open_duckdb, scan
from pipeline.store import Store
from pipeline.upkeep.clean import clean
from stages.contract import Output, Recipe, RunOptions
from stages.io.files import remove
from stages.registry import STAGES
from tests.odd_names import ODD, lookalikes, names

TABLE = pa.table({"key": ["a", "b"], "value": [1, 2]})


NODE = Node("rank", STAGES["rank"], "web", Recipe(), RunOptions(), {}, {}, "00000000000000ff")


def count(store: Store, name: str) -> list[tuple]:
    """Rows, the sum of their values and the first shard of what lies in the store's one folder under a name."""
    added = {} if name.startswith("compacted") else {"shard": SHARD}
    rows = scan(store, [Tables(below(store, store.folder("rank", "00000000000000ff"), name), added)])
    with open_duckdb(store) as connection:
        return connection.sql(f"SELECT count(*), sum(value), min(shard), max(key) FROM ({rows})").fetchall()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("names")


@settings(max_examples=4, deadline=None)
@example("key=1")
@example("[!a]")
@given(names())
def test_tables_are_those_of_their_own_folder(place: Path, name: str) -> None:
    check_own_tables(str(place), name)


@pytest.mark.parametrize("name", [ODD, "shard=9"])
def test_and_on_other_filesystems(name: str) -> None:
    check_own_tables("memory://odd", name)


def check_own_tables(place: str, name: str) -> None:
    """Commit, read, compact and remove below a folder; what lies below others that look alike stays."""
    own, *others = (Store.open(f"{place}/{found}/out") for found in (name, *lookalikes(name)))
    for other in others:
        other.filesystem.makedirs(f"{other.root}/rank/00000000000000ff", exist_ok=True)
        other.filesystem.pipe_file(f"{other.root}/rank/00000000000000ff/web-0-0.parquet", b"no table")
    folder = own.folder("rank", "00000000000000ff")
    for shard in ("web-0-0", "web-0-1"):
        own.commit(folder, shard, Output(TABLE), {})
    assert own.fingerprints("rank") == ["00000000000000ff"]
    assert count(own, "*.parquet") == [(4, 6, "web-0-0", "b")]
    assert count(own, "web-0-1.parquet") == [(2, 3, "web-0-1", "b")]
    assert compact(Graph({"rank/web": NODE}), own).files == 1
    assert count(own, "compacted/*") == [(4, 6, "web-0-0", "b")]
    own.remove(folder, "web-0-0")
    assert own.compacted(folder) == []
    assert count(own, "*.parquet") == [(2, 3, "web-0-1", "b")]
    remove(own.root)
    assert own.fingerprints("rank") == []
    assert all(other.committed(folder.replace(own.root, other.root)) == {"web-0-0"} for other in others)
    for other in others:
        remove(other.root)


MANIFEST = """\
output: "a::b/out"
removed: removed.txt
sources:
  web: {format: csv, path: list.csv, keep: [caption, Rank]}
urls: {shard_size: 2}
download: {image_size: 16, encode_format: png, encode_quality: 1, allow_addresses: [127.0.0.1], retries: 0}
caption: {model: nowhere/model}
rank: {model: nowhere/model}
select: {itm_threshold: null}
"""


OUT = Path("a::b/out")


@pytest.fixture
def web() -> Web:
    with serving() as running:
        yield running


@pytest.fixture
def odd(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A run up to its download, started in an odd folder: three images, and one whose server was down."""
    folder = tmp_path / "status=ok" / ODD
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    Path("removed.txt").touch()
    rows = [f"{web.url(f'/{number}')},text {number},own {number},{number}" for number in range(4)]
    Path("list.csv").write_text("\n".join(["URL,TEXT,caption,Rank", *rows]) + "\n")
    Path("m.yaml").write_text(MANIFEST)
    web.down.add("/3")
    assert capfilt(capsys, *LOCAL, "--until", "download")[0] == 0
    return folder


def ask(capsys: pytest.CaptureFixture[str], sql: str) -> list[dict]:
    code, out, err = capfilt(capsys, "query", "m.yaml", sql, "--json")
    assert code == 0, err
    return json.loads(out)


def test_every_command_in_an_odd_folder(odd: Path, web: Web, capsys: pytest.CaptureFixture[str]) -> None:
    sql = "SELECT status, source, count(*) AS images FROM images GROUP BY ALL ORDER BY images"
    found = [
        {"status": status, "source": "web", "images": images} for status, images in (("http_5xx", 1), ("success", 3))
    ]
    for table in odd.glob("a::b/out/*/*/web-*.parquet"):
        table.with_name(f"._{table.name}").write_bytes(b"\0\5\26\7")  # which macOS leaves beside it: no table
    assert ask(capsys, sql) == found
    assert capfilt(capsys, "compact", "m.yaml")[0] == 0
    assert ask(capsys, sql) == found
    web.down.clear()
    assert capfilt(capsys, "retry", "m.yaml", *LOCAL[2:], "--until", "download")[0] == 0
    assert capfilt(capsys, "forget", "m.yaml", web.url("/0"))[0] == 0
    gone, kept = (row["key"] for row in ask(capsys, "SELECT key FROM urls ORDER BY url LIMIT 2"))
    (tar,) = (path for path in odd.glob("a::b/out/download/*/web-*-00000-*.*.tar"))
    with tarfile.open(tar) as archive:
        assert {name.partition(".")[0] for name in archive.getnames()} == {kept} != {gone}
        described = json.load(archive.extractfile(f"{kept}.json"))
    assert [described[name] for name in ("caption", "list_caption", "list_Rank")] == ["text 1", "own 1", "1"]
    code, out, _ = capfilt(capsys, "status", "m.yaml", "--json")
    assert code == 0
    assert json.loads(out)["losses"] == [{"stage": "download", "reason": "removed", "count": 1}]
    stray = next(odd.glob("a::b/out/download/*")) / "web-00000-00000.0123456789ab.tar"
    stray.write_text("half")
    assert str(stray) in capfilt(capsys, "clean", "m.yaml", "--older-than", "0", "--dry-run")[1].replace(
        "\\x1b", "\x1b"
    )
    cleaned = clean(Store.open("a::b/out"), older_than=timedelta(0), keep=(), dry_run=False)
    assert len(cleaned.unused) == 2
    assert {path.name for path in odd.glob("a::b/out/*/*")} == {"m.json"}


def test_the_catalog_moves_with_its_folder(odd: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    sql = "SELECT key, url, text, list_caption, list_Rank FROM images JOIN urls USING (key, url, text) ORDER BY url"
    before = ask(capsys, sql)
    assert [row["list_caption"] for row in before] == [f"own {number}" for number in range(4)]
    with duckdb.connect() as connection:
        connection.execute("ATTACH 'a::b/out/catalog.duckdb' AS run (READ_ONLY)")  # it reads where it was written
        assert connection.sql("SELECT count(*) FROM run.images").fetchall() == [(4,)]
    shutil.copytree(OUT, "other")
    with duckdb.connect("other/catalog.duckdb") as connection:
        connection.execute("ATTACH 'a::b/out/catalog.duckdb' AS run (READ_ONLY)")
        with pytest.raises(duckdb.Error, match="start duckdb without a file and ATTACH both"):
            connection.sql("SELECT count(*) FROM run.images").fetchall()
    for state in ("as it was", "compacted"):
        moved = odd.parent / f"moved [{state}] *"
        shutil.copytree(OUT, moved)
        for table in OUT.glob("*/*/*.parquet"):
            table.unlink()  # whoever still reads here finds nothing
        for folder in (moved, Path("/")):
            monkeypatch.chdir(folder)
            with duckdb.connect(str(moved / "catalog.duckdb"), read_only=True) as catalog:
                assert catalog.sql(sql).to_arrow_table().to_pylist() == before
                assert catalog.sql("SELECT sum(count)::INT FROM funnel WHERE step = 'images'").fetchall() == [(3,)]
                assert catalog.sql("SELECT count(*) FROM corpus").fetchall() == [(0,)]
        monkeypatch.chdir(odd)
        shutil.rmtree(OUT)
        shutil.move(moved, OUT)
        assert capfilt(capsys, "compact", "m.yaml")[0] == 0
    assert ask(capsys, sql) == before


def test_an_output_that_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "real [1]").mkdir()
    (tmp_path / "out").symlink_to("real [1]")
    store = Store.open(str(tmp_path / "out"))
    store.commit(store.folder("rank", "00000000000000ff"), "web-0-0", Output(TABLE), {})
    assert count(store, "*.parquet")[0][0] == 2
    assert (tmp_path / "real [1]/rank/00000000000000ff/web-0-0.parquet").exists()


@pytest.mark.parametrize(
    ("output", "folder", "told"), [("a\\b", "/tmp", "output: .*a.b: DuckDB"), ("out", "/tmp/a?b", "TMPDIR: /tmp/a.b")]
)
def test_what_duckdb_cannot_open_is_told_before_the_run(output, folder, told, monkeypatch) -> None:
    from stages.errors import UserError

    monkeypatch.setattr("tempfile.tempdir", folder)
    with pytest.raises(UserError, match=told):
        Store.open(output).reach()
