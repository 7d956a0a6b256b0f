"""Every caption of a shard, whoever wrote it."""

from __future__ import annotations

from pathlib import Path

from committed import write

from stages.candidates import read_candidates
from stages.contract import Shard
from stages.tables import CAPTIONS


def said(key: str, writer: str, candidate: int, caption: str) -> dict[str, object]:
    return {"key": key, "writer": writer, "candidate": candidate, "origin": "web", "caption": caption}


def test_one_writers_after_the_others_in_the_order_of_the_inputs(tmp_path: Path) -> None:
    web = [said("a", "web", 0, "one"), said("b", "web", 0, "two")]
    written = [said("a", "blip", 1, "three"), said("b", "blip", 1, "four")]
    second = write(tmp_path / "2.parquet", web, CAPTIONS, {"attempt": "2"})
    first = write(tmp_path / "1.parquet", written, CAPTIONS, {"attempt": "1"})
    found = read_candidates(Shard({"captions": (first, second)}, "s", tmp_path), ["caption"])
    assert found.column_names == ["key", "writer", "candidate", "caption"]
    rows = [tuple(row.values()) for row in found.to_pylist()]
    assert rows == [
        ("a", "blip", 1, "three"),
        ("b", "blip", 1, "four"),
        ("a", "web", 0, "one"),
        ("b", "web", 0, "two"),
    ]
    alone = read_candidates(Shard({"captions": (second,)}, "s", tmp_path), [])
    assert [tuple(row.values()) for row in alone.to_pylist()] == [("a", "web", 0), ("b", "web", 0)]


def test_no_rows(tmp_path: Path) -> None:
    empty = write(tmp_path / "1.parquet", [], CAPTIONS)
    assert read_candidates(Shard({"captions": (empty, empty)}, "s", tmp_path), ["origin"]).num_rows == 0
