"""The commit: whole or not at all, locally and on a filesystem without renames."""

from __future__ import annotations

import os
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest

from pipeline.store import Store
from stages.contract import Output
from stages.files import write_whole


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path) -> Store:
    if request.param == "local":
        return Store.open(str(tmp_path / "out"))
    fsspec.filesystem("memory").store.clear()
    return Store.open("memory://out")


def output(tmp_path: Path, value: int) -> Output:
    side = tmp_path / "side"
    side.write_text(str(value))
    return Output(pa.table({"value": [value]}), sides={"txt": side}, links={"tar": "s3://elsewhere/x.tar"})


def test_a_committed_shard_is_read_back_with_its_side_files(store, tmp_path):
    folder = store.folder("caption", "00ff")
    assert store.committed(folder) == set()
    store.commit(folder, "a-00000", output(tmp_path, 7), {"stage": "caption"})
    assert store.committed(folder) == {"a-00000"}
    artifact = store.artifact(folder, "a-00000")
    assert artifact.table().to_pylist() == [{"value": 7}]
    assert artifact.metadata()["stage"] == "caption"
    with fsspec.open(artifact.side("txt"), "rt") as file:
        assert file.read() == "7"
    assert artifact.side("tar") == "s3://elsewhere/x.tar"


def test_two_commits_of_one_shard_do_not_mix(store, tmp_path):
    folder = store.folder("download", "00ff")
    for value in (1, 2):
        store.commit(folder, "a-00000", output(tmp_path, value), {})
    artifact = store.artifact(folder, "a-00000")
    with fsspec.open(artifact.side("txt"), "rt") as file:
        assert file.read() == str(artifact.table().column("value")[0].as_py()) == "2"


def test_a_failure_is_there_until_the_shard_is_done(store, tmp_path):
    folder = store.folder("rank", "00ff")
    store.record_failure(folder, "a-00000", {"error": "ValueError: bad", "attempts": 3})
    assert store.failures(folder)["a-00000"]["error"] == "ValueError: bad"
    assert store.committed(folder) == set()
    store.commit(folder, "a-00000", output(tmp_path, 1), {})
    assert store.failures(folder) == {}


def test_a_write_that_breaks_off_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_whole(f"{tmp_path}/x/a.parquet", b"half")
    assert list((tmp_path / "x").iterdir()) == []
