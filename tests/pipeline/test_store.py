"""The commit: whole or not at all, locally and on a filesystem without renames."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest

from pipeline.store import Store
from stages.contract import Output
from stages.io.files import write_whole
from stages.io.shards import Artifact


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


def text_of(artifact: Artifact) -> str:
    with fsspec.open(artifact.side("txt"), "rt") as file:
        return str(file.read())


@pytest.mark.parametrize(("instead_of", "stays"), [("nothing", 1), ("the first", 2), ("another", 1)])
def test_two_commits_of_one_shard_do_not_mix(store, tmp_path, instead_of, stays):
    folder = store.folder("download", "00ff")
    artifact = store.artifact(folder, "a-00000")
    store.commit(folder, "a-00000", output(tmp_path, 1), {})
    attempt = {"nothing": None, "the first": artifact.metadata()["attempt"], "another": "0" * 12}[instead_of]
    store.commit(folder, "a-00000", output(tmp_path, 2), {}, instead_of=attempt)
    assert artifact.table().to_pylist() == [{"value": stays}]
    assert text_of(artifact) == str(stays)
    assert len(store.strays(folder)) == (stays == 2)  # the loser has taken its own back


@pytest.mark.parametrize("place", ["local", "s3"])
def test_two_hosts_with_the_same_shard_leave_one_whole_artifact(place, tmp_path, request, monkeypatch):
    """Both have put their side files when the first table lands: neither sees the other in time."""
    store = Store.open(str(tmp_path / "out") if place == "local" else request.getfixturevalue("s3_folder"))
    folder, both_there = store.folder("download", "00ff"), threading.Barrier(2)
    land = Store._land

    def together(*args, **options) -> bool:
        both_there.wait(timeout=60)
        return land(*args, **options)

    monkeypatch.setattr(Store, "_land", together)
    hosts = [tmp_path / name for name in ("a", "b")]
    for host in hosts:
        host.mkdir()
    with ThreadPoolExecutor() as pool:
        ends = [
            pool.submit(store.commit, folder, "a-00000", output(host, value), {}) for value, host in enumerate(hosts)
        ]
        for end in ends:
            end.result()
    artifact = store.artifact(folder, "a-00000")
    assert text_of(artifact) == str(artifact.table().column("value")[0].as_py())
    assert store.strays(folder) == []
    assert len(store.filesystem.ls(folder, detail=False, refresh=True)) == 2


def test_a_put_that_is_repeated_because_its_answer_was_lost_keeps_its_side_files(tmp_path, monkeypatch):
    store = Store.open("memory://out")
    folder = store.folder("download", "00ff")
    monkeypatch.setattr("pipeline.store.create_whole", lambda url, content: bool(write_whole(url, content)))
    store.commit(folder, "a-00000", output(tmp_path, 7), {})
    assert text_of(store.artifact(folder, "a-00000")) == "7"


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


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A filesystem of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a filesystem")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("too_large", ["side file", "table"])
def test_a_full_disk_gets_nothing_half(too_large, small_disk, tmp_path):
    store = Store.open(str(small_disk / "out"))
    folder = store.folder("rank", "00ff")
    side = tmp_path / "side"
    side.write_bytes(os.urandom(400_000 if too_large == "side file" else 100_000))
    table = pa.table({"value": [os.urandom(300_000 if too_large == "table" else 10)]})
    with pytest.raises(OSError, match="No space left on device"):
        store.commit(folder, "a-00000", Output(table, sides={"tar": side}), {})
    assert list(Path(folder).iterdir()) == []
    side.write_bytes(b"small")
    store.commit(folder, "a-00000", Output(pa.table({"value": [b"x"]}), sides={"tar": side}), {})
    assert store.committed(folder) == {"a-00000"}
    assert store.strays(folder) == []


def test_of_a_shard_that_is_removed_nothing_stays(store, tmp_path):
    folder = store.folder("download", "00ff")
    for shard in ("a-00000", "b-00000"):
        store.commit(folder, shard, output(tmp_path, 1), {})
    listed = store.names_by_shard(folder)
    assert {shard: len(names) for shard, names in listed.items()} == {"a-00000": 2, "b-00000": 2}
    store.remove(folder, "a-00000", listed["a-00000"])
    assert store.names_by_shard(folder) == {"b-00000": listed["b-00000"]}
    store.remove(folder, "a-00000", listed["a-00000"])  # which may be done once more
    store.remove(folder, "b-00000")
    assert store.names_by_shard(folder) == {}
