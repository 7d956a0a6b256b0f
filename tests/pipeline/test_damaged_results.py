"""A file of the output that is not what was written: every command says which, and what to do; nothing else suffers."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pyarrow as pa
import pytest
from command import capfilt

from pipeline.session import open_session
from pipeline.store import Store
from stages.contract import Output
from stages.errors import DamagedError
from stages.io.shards import Artifact
from stages.tables import IMAGES

RUN = ("run", "m.yaml", "--executor", "local", "--until", "download")
COMMANDS = [RUN, ("status", "m.yaml"), ("query", "m.yaml", "SELECT count(url), count(status) FROM images")]
COMMANDS += [("retry", "m.yaml", "--executor", "local", "--until", "download"), ("compact", "m.yaml")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], own_scratch) -> Path:
    """An output with one shard, of which nothing could be downloaded."""
    monkeypatch.chdir(tmp_path)
    Path("list.csv").write_text("URL,TEXT\nhttp://127.0.0.1/1,a dog\n")
    Path("m.yaml").write_text(
        """\
output: out
sources: {web: {format: csv, path: list.csv}}
caption: {model: nowhere/model}
rank: {model: nowhere/model}
select: {itm_threshold: null}
"""
    )
    assert capfilt(capsys, *RUN[:-1], "urls")[0] == 0
    session = open_session(Path("m.yaml"))
    node = session.graph.nodes["download/web"]
    place = session.store.folder_of(node)
    session.store.record_recipe(place, {"source": "web", "identity": node.identity})
    urls = session.store.folder_of(session.graph.nodes["urls/web"])
    (shard,) = session.store.committed(urls)
    (key,) = session.store.artifact(urls, shard).table()["key"].to_pylist()
    row = {"key": key, "url": "http://127.0.0.1/1", "status": "timeout", "retry": 0}
    session.store.commit(place, shard, Output(pa.Table.from_pylist([row], IMAGES)), {"stage": "download"})
    return tmp_path / "out"


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def test_a_damaged_table_is_named_with_its_remedy(folder, capsys):
    table = only(folder, "download/*/web-*.parquet")
    whole = table.read_bytes()
    for content, command in zip([b"junk", b"", whole[:300], b"junk", whole[:-9]], COMMANDS, strict=True):
        table.write_bytes(content)
        code, out, err = capfilt(capsys, *command)
        told = " ".join((out + err).split())
        assert (command, code) == (command, 2)
        assert f"{table} is damaged (" in told
        assert "; delete it, and `capfilt run` makes it anew" in told
    assert capfilt(capsys, "clean", "m.yaml", "--older-than", "0")[0] == 0  # which need not know
    table.unlink()
    assert capfilt(capsys, *RUN)[0] == 0
    assert table.exists()


def test_of_a_list_that_was_cut_the_listing_goes_too(folder, capsys):
    table = only(folder, "urls/*/web-*.parquet")
    table.write_bytes(b"junk")
    code, _, err = capfilt(capsys, "query", "m.yaml", "SELECT count(url) FROM urls")
    assert code == 2
    (listing,) = re.findall(rf"delete it and {table.parent}/(parts/web-[0-9a-f]{{8}}\*), and", err)
    table.unlink()
    only(table.parent, listing).unlink()
    assert capfilt(capsys, *RUN)[0] == 0
    assert capfilt(capsys, "query", "m.yaml", "SELECT url FROM urls", "--json")[1].count("http://127.0.0.1/1") == 1


def test_a_table_that_is_not_the_outputs_is_no_business_of_ours(folder, capsys):
    (folder.parent / "mine.parquet").write_bytes(b"junk")
    code, _, err = capfilt(capsys, "query", "m.yaml", "SELECT * FROM 'mine.parquet'")
    assert code == 2
    assert "the query is wrong" in err
    assert "delete" not in err


ASKED = [("status", "m.yaml", "--json")]
ASKED += [("query", "m.yaml", f"SELECT * FROM {view} ORDER BY key", "--json") for view in ("images", "urls")]


def damage(content: bytes, rng: random.Random) -> tuple[str, bytes]:
    """A table with some bytes changed, or without its end."""
    footer = int.from_bytes(content[-8:-4], "little")
    kind = rng.choice(["footer", "footer", "page", "end", "cut"])
    low, high = {
        "footer": (len(content) - 8 - footer, len(content) - 8),
        "page": (4, len(content) - 8 - footer),
        "end": (len(content) - 8, len(content)),
        "cut": (0, len(content)),
    }[kind]
    place = rng.randrange(low, high)
    if kind == "cut":
        return kind, content[:place]
    changed = bytearray(content)
    changed[place : place + rng.choice([1, 1, 40])] = rng.randbytes(1)
    return kind, bytes(changed)


@pytest.mark.parametrize("damages", [8, pytest.param(150, marks=pytest.mark.slow)])
def test_whatever_byte_is_damaged_the_table_is_named_and_nobody_sees_a_traceback(damages, folder, capsys):
    rng, told = random.Random(5), 0
    tables = sorted(folder.rglob("*.parquet"))
    right = [capfilt(capsys, *command) for command in ASKED]
    for _ in range(damages):
        table = rng.choice(tables)
        whole = table.read_bytes()
        kind, content = damage(whole, rng)
        table.write_bytes(content)
        for command, (_, answer, _) in zip(ASKED, right, strict=True):
            code, out, err = capfilt(capsys, *command)  # an exception would end the test
            if code == 0 and kind in {"cut", "end"}:
                assert out == answer
            if code != 0:  # a value that is another one now shows as what it is
                assert (code, err.count("\n")) == (2, 1), err
                assert f"{table} is damaged (" in err
                told += 1
        table.write_bytes(whole)
    assert told > damages // 2
    assert [capfilt(capsys, *command) for command in ASKED] == right


def test_what_is_no_tables_fault_is_told_as_it_is(folder, capsys):
    for sql, words in {
        "SELECT error('mine') FROM urls": "mine",
        "SELECT CAST('x' AS INT)": "Could not convert",
        "SELECT 9223372036854775807 + 1": "Overflow",
    }.items():
        code, _, err = capfilt(capsys, "query", "m.yaml", sql)
        assert (code, err.count("\n"), "damaged" in err) == (2, 1, False), err
        assert "the query is wrong: " in err
        assert words in err


def test_a_value_that_has_changed_is_found_by_its_checksum(folder):
    table = only(folder, "download/*/web-*.parquet")
    content = bytearray(table.read_bytes())
    place = content.index(b"timeout") if b"timeout" in content else content.index(b"http")
    content[place] ^= 1
    table.write_bytes(content)
    with pytest.raises(DamagedError, match="CRC checksum"):
        Artifact(str(table)).table()


RECIPES = ["", "{", "[]", '"x"', '{"identity": {}}', '{"source": "web", "identity": []}', "[" * 9999]


def test_a_damaged_recipe(folder, capsys):
    recipe = folder / "download/0123456789abcdef/recipe.json"
    recipe.parent.mkdir()
    for content in RECIPES:
        recipe.write_text(content)
        with pytest.raises(DamagedError, match=r"recipe\.json is damaged"):
            Store.open(str(folder)).recipe(str(recipe.parent))
    Path("m.yaml").write_text("removed: removed.txt\n" + Path("m.yaml").read_text())
    only(folder, "download/*/web-*.parquet").unlink()  # else nobody asks what was made earlier
    for command in ("plan", "status", "forget", "retry"):
        code, _, err = capfilt(capsys, command, "m.yaml")
        assert (command, code, err.count("\n")) == (command, 2, 1)
        assert f"{recipe} is damaged (" in err


def test_what_the_output_says_of_itself(folder, capsys):
    only(folder, "download/*/web-*.parquet").unlink()
    (folder / "runs").mkdir(exist_ok=True)
    for place, name in (
        ("download/*", "web-00000-00000.failed.json"),
        ("urls/*", "compacted.json"),
        ("runs", "h.json"),
    ):
        path = only(folder, place) / name
        path.write_text("{}")
        code, _, err = capfilt(capsys, "status", "m.yaml")
        assert (code, err.count("\n")) == (2, 1)
        assert f"{path} is damaged (it is no object with" in err
        path.unlink()


def test_damage_passes_between_processes(tmp_path):
    import pickle

    (tmp_path / "a.parquet").write_bytes(b"junk")
    with pytest.raises(DamagedError) as told:
        Artifact(str(tmp_path / "a.parquet")).metadata()
    assert str(pickle.loads(pickle.dumps(told.value))) == str(told.value)
    for place in (str(tmp_path), "memory://nowhere"):
        with pytest.raises(FileNotFoundError):
            Artifact(f"{place}/b.parquet").table()


def test_what_others_leave_in_a_stages_folder_is_no_result(folder, capsys):
    place = folder / "download"
    for name in (".DS_Store", "Thumbs.db"):
        (place / name).write_text("x")
    for name in ("notes", "0123456789abcde", "0123456789abcdef"):
        (place / name).mkdir()
    (place / "link").symlink_to("nowhere")
    before = {path.name for path in place.iterdir()}
    Path("m.yaml").write_text("removed: removed.txt\n" + Path("m.yaml").read_text())
    for command in (("forget", "m.yaml"), ("plan", "m.yaml"), ("clean", "m.yaml"), RUN):
        assert (command, capfilt(capsys, *command)[0]) == (command, 0)
    code, out, _ = capfilt(capsys, "clean", "m.yaml", "--unused", "--json")
    assert code == 0
    assert json.loads(out)["unused"] == [str(place / "0123456789abcdef")]  # an empty folder of that name is one
    assert {path.name for path in place.iterdir()} == before - {"0123456789abcdef"}


def test_a_shard_that_is_done_meanwhile_has_not_failed(folder, monkeypatch):
    store = Store.open(str(folder))
    place = str(only(folder, "download/*"))
    store.record_failure(place, "web-00000-00009", {"error": "bad", "attempts": 3})
    monkeypatch.setattr(Store, "read_json", lambda *_: (_ for _ in ()).throw(FileNotFoundError()))
    assert store.failures(place) == {}
