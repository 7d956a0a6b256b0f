"""Which exports an output knows of: what is no record of one is passed over or told, and hides no other."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.export.mark import Mark, ShardMark, Subject
from pipeline.export.place import Target
from pipeline.export.remembered import outdated, remember
from pipeline.store import Store
from stages.contract import Output

RESULT = "select/0123456789abcdef"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An output of one table, with an export that is made of it."""
    store = Store.open(str(tmp_path / "out"))
    store.commit(f"{store.root}/{RESULT}", "s", Output(pa.table({"key": ["k"]})), {})
    attempt = store.artifact(f"{store.root}/{RESULT}", "s").metadata()["attempt"]
    mark = Mark(Subject("json", 1, "recipe", ()), {}, {"s": ShardMark({RESULT: attempt})}, complete=True)
    (tmp_path / "list.json.export.json").write_bytes(mark.dump())
    assert remember(store, Target.of(str(tmp_path / "list.json"), one_file=True), "json") == []
    assert outdated(store) == ([], [])
    return store


def test_what_lies_beside_the_records(store):
    folder = Path(store.root, "exports")
    (record,) = folder.iterdir()
    for name in ("._x.json", f".{record.name}.0123456789ab", ".DS_Store", "notes.json"):
        (folder / name).write_bytes(b"\xff{")
    assert outdated(store) == ([], [])


def test_a_record_that_is_none_is_told_and_hides_no_other(store):
    (record,) = Path(store.root, "exports").iterdir()
    for content in (b"", b"\xff", b"[]", b"{}"):
        (broken := record.with_name("0" * 16 + ".json")).write_bytes(content)
        Path(store.root, RESULT, "s.parquet").write_bytes(b"junk")  # so the other one is not of what lies there
        found, told = outdated(store)
        assert [known.destination for known in found] == [json.loads(record.read_bytes())["destination"]]
        assert told == [f"{broken} is damaged, and nobody can tell of which export it was; delete it"]


def test_an_export_whose_mark_is_none_may_hold_anything(store, tmp_path):
    (tmp_path / "list.json.export.json").write_text('{"files": {"": null}}')
    assert len(outdated(store)[0]) == 1
    (tmp_path / "list.json.export.json").unlink()
    assert outdated(store) == ([], [])  # it is gone
