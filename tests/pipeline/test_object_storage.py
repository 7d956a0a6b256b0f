"""Output and sources on a server that speaks S3, and what a person reads when it does not answer."""

from __future__ import annotations

import functools
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from pyarrow import csv

from pipeline.store import Store
from stages.contract import Output
from tests.pipeline.command import capfilt
from tests.pipeline.conftest import ROOT
from tests.ports import free_port
from tests.s3_server import BUCKET, S3Proxy


def write_manifest(folder: Path, output: str, path: str) -> Path:
    checkpoints = ROOT / "stages/demo/checkpoints"
    content = {
        "output": output,
        "sources": {"mine": {"format": Path(path).suffix[1:], "path": path, "url": "url", "text": "text"}},
        "urls": {"shard_size": 2},
        "caption": {"model": str(checkpoints / "captioner")},
        "rank": {"model": str(checkpoints / "clip")},
        "filter": {"model": str(checkpoints / "itm")},
    }
    manifest = folder / "m.yaml"
    manifest.write_text(yaml.safe_dump(content, sort_keys=False))
    return manifest


def write_list(path: Path) -> None:
    urls = [f"http://127.0.0.1:1/{row}.jpg" for row in range(5)]
    table = pa.table({"url": urls, "text": ["a cat"] * 5})
    (pq.write_table if path.suffix == ".parquet" else csv.write_csv)(table, path)


@pytest.fixture
def https_like(tmp_path) -> Iterator[str]:
    """A folder served over HTTP, as a list that somebody publishes is."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize("kind", ["s3", "s3 glob", "http"])
def test_a_list_is_read_from_where_it_lies(kind, tmp_path, s3_folder, https_like, capsys):
    write_list(tmp_path / "list.parquet")
    write_list(tmp_path / "list.csv")
    fsspec.filesystem("s3").put_file(str(tmp_path / "list.parquet"), f"{s3_folder}/in/list.parquet")
    places = {
        "s3": f"{s3_folder}/in/list.parquet",
        "s3 glob": f"{s3_folder}/in/*.parquet",
        "http": f"{https_like}/list.csv",
    }
    manifest = write_manifest(tmp_path, f"{s3_folder}/out", places[kind])
    code, said, errors = capfilt(capsys, "run", manifest, "--until", "urls", "--executor", "local", "--json")
    assert code == 0, errors
    assert '"shards_done": 1' in said
    code, said, errors = capfilt(capsys, "query", manifest, "SELECT count(*), min(url) FROM urls")
    assert "5" in said, errors
    assert "http://127.0.0.1:1/0.jpg" in said


def test_large_tables_come_and_go_there_too(tmp_path, s3_folder, capsys):
    output = f"{s3_folder}/k=v [1]*? #é"
    write_list(tmp_path / "list.csv")
    manifest = write_manifest(tmp_path, output, str(tmp_path / "list.csv"))
    ask = ("query", manifest, "SELECT key, url, shard FROM urls ORDER BY key", "--json")
    assert capfilt(capsys, "run", manifest, "--until", "urls", "--executor", "local")[0] == 0
    before = capfilt(capsys, *ask)[1]
    assert capfilt(capsys, "compact", manifest)[1] == "3 tables read, 1 large tables written\n"
    store = Store.open(output)
    folder = store.folder("urls", store.fingerprints("urls")[0])
    small = {shard: store.filesystem.cat_file(f"{folder}/{shard}.parquet") for shard in store.committed(folder)}
    for shard in small:
        store.filesystem.rm_file(f"{folder}/{shard}.parquet")
    assert capfilt(capsys, *ask)[1] == before
    for shard, content in small.items():
        store.filesystem.pipe_file(f"{folder}/{shard}.parquet", content)
    gone = sorted(small)[1]
    store.remove(folder, gone)
    assert store.compacted(folder) == []
    left = [row for row in json.loads(before) if row["shard"] != gone]
    assert json.loads(capfilt(capsys, *ask)[1]) == left


def test_a_server_that_sends_whole_files_only_is_named(tmp_path, https_like, capsys):
    write_list(tmp_path / "list.parquet")
    manifest = write_manifest(tmp_path, str(tmp_path / "out"), f"{https_like}/list.parquet")
    code, _, errors = capfilt(capsys, "plan", manifest)
    said = f"capfilt: {https_like}/list.parquet: its server sends whole files only; copy it to a disk or a bucket first"
    assert (code, errors.splitlines()[-1]) == (2, said)


def test_folders_of_more_than_a_page_are_listed_whole(s3_folder):
    """A page of a listing holds 1,000 names."""
    store = Store.open(s3_folder)
    folder = store.folder("rank", "00000000000000ff")
    store.filesystem.pipe({f"{folder}/a-{number:05d}.parquet": b"x" for number in range(1001)})
    assert len(store.committed(folder)) == 1001
    store.filesystem.pipe_file(f"{folder}/b-00000.parquet", b"x")
    assert len(store.committed(folder)) == 1002


@pytest.mark.parametrize(
    "fault", ["busy", *(pytest.param(fault, marks=pytest.mark.slow) for fault in ("cut", "refuse"))]
)
def test_a_commit_that_the_server_breaks_off_is_whole_or_absent(fault, s3_folder, s3_server, monkeypatch, tmp_path):
    """In a process of its own: a client keeps its endpoint for life."""
    program = (
        "import sys, pyarrow as pa; from pathlib import Path; from pipeline.store import Store; "
        "from stages.contract import Output; Path(sys.argv[2]).write_bytes(b'side' * 100_000); "
        "Store.open(sys.argv[1]).commit(sys.argv[1] + '/rank/00000000000000ff', 'a-00000', "
        "Output(pa.table({'value': [1]}), sides={'tar': Path(sys.argv[2])}), {})"
    )
    store = Store.open(s3_folder)
    folder = store.folder("rank", "00000000000000ff")
    with S3Proxy(s3_server.port) as proxy:
        proxy.fault = fault
        environment = {**os.environ, **s3_server.environment(proxy.port), "AWS_MAX_ATTEMPTS": "1"}
        command = [sys.executable, "-c", program, s3_folder, str(tmp_path / "side")]
        ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=120, check=False)
        assert ended.returncode == 1
        assert proxy.faults > 0
        assert store.committed(folder) == set()
        proxy.fault = ""
        subprocess.run(command, cwd=ROOT, env=environment, timeout=120, check=True)
    assert store.committed(folder) == {"a-00000"}
    with fsspec.open(store.artifact(folder, "a-00000").side("tar"), "rb") as file:
        assert file.read() == b"side" * 100_000


MISTAKES = {
    "no bucket": ({}, "The specified bucket does not exist"),
    "wrong secret": ({"AWS_SECRET_ACCESS_KEY": "x"}, "signature"),
    "no credentials": ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "Unable to locate credentials"),
    "no server": ({"AWS_ENDPOINT_URL": ""}, "Could not connect to the endpoint"),
}


@pytest.fixture
def new_clients() -> Iterator[None]:
    """Clients that are made in this test: one keeps its endpoint and its credentials for life."""
    clients = fsspec.get_filesystem_class("s3")
    clients.clear_instance_cache()
    yield
    clients.clear_instance_cache()


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_is_wrong_is_said_in_a_line(mistake, tmp_path, s3_folder, new_clients, monkeypatch, capsys):
    write_list(tmp_path / "list.parquet")
    output = "s3://nobody-has-this/x" if mistake == "no bucket" else s3_folder
    manifest = write_manifest(tmp_path, output, str(tmp_path / "list.parquet"))
    changes, said = MISTAKES[mistake]
    if "AWS_ENDPOINT_URL" in changes:
        changes = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}"}
    for name, value in {"HOME": str(tmp_path), "AWS_MAX_ATTEMPTS": "1", **changes}.items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)
    code, _, errors = capfilt(capsys, "run", manifest, "--executor", "local")
    assert code == 2
    assert errors.startswith(f"capfilt: output: {output} cannot be ")
    assert said in errors
    assert len(errors.splitlines()) == 1


def test_an_unknown_filesystem_is_named(tmp_path, capsys):
    write_list(tmp_path / "list.parquet")
    manifest = write_manifest(tmp_path, "nosuch://bucket/x", str(tmp_path / "list.parquet"))
    code, _, errors = capfilt(capsys, "plan", manifest)
    assert code == 2
    assert errors.startswith("capfilt: output: nosuch://bucket/x: ")


def test_uploads_in_parts_that_were_never_completed_are_aborted(tmp_path, s3_folder, own_scratch, capsys):
    write_list(tmp_path / "list.parquet")
    manifest = write_manifest(tmp_path, s3_folder, str(tmp_path / "list.parquet"))
    client, key = fsspec.filesystem("s3"), s3_folder.partition(f"{BUCKET}/")[2]
    for where in (f"{key}/download/00000000000000ff/a.tar", "elsewhere/b.tar"):
        client.call_s3("create_multipart_upload", Bucket=BUCKET, Key=where)
    code, said, errors = capfilt(capsys, "clean", manifest, "--older-than", "0")
    assert (code, errors) == (0, "")
    assert f"upload of s3://{BUCKET}/{key}/download/00000000000000ff/a.tar" in said
    left = client.call_s3("list_multipart_uploads", Bucket=BUCKET).get("Uploads", [])
    assert [upload["Key"] for upload in left] == ["elsewhere/b.tar"]
    client.call_s3("abort_multipart_upload", Bucket=BUCKET, Key="elsewhere/b.tar", UploadId=left[0]["UploadId"])


def test_a_disturbed_output_is_cleaned_and_a_whole_one_is_left(tmp_path, s3_folder, own_scratch, capsys):
    write_list(tmp_path / "list.parquet")
    manifest = write_manifest(tmp_path, s3_folder, str(tmp_path / "list.parquet"))
    store = Store.open(s3_folder)
    folder = store.folder("download", "00000000000000ff")
    side = tmp_path / "side"
    side.write_text("x")
    store.commit(folder, "a-00000", Output(pa.table({"value": [1]}), sides={"tar": side}), {})
    whole = sorted(store.filesystem.find(s3_folder))
    for name in ("a-00000.0123456789ab.tar", "b-00000.0123456789ab.tar"):
        store.filesystem.pipe_file(f"{folder}/{name}", b"x")
    code, said, _ = capfilt(capsys, "clean", manifest)
    assert code == 0
    assert "0 strays removed" in said  # it may belong to a run under way
    code, said, _ = capfilt(capsys, "clean", manifest, "--older-than", "0")
    assert "2 strays removed" in said
    store.filesystem.invalidate_cache()
    assert sorted(store.filesystem.find(s3_folder)) == whole
    assert "1 results" in capfilt(capsys, "clean", manifest, "--unused")[1]
    assert store.committed(folder) == set()


def test_what_others_have_written_since_a_listing_is_there(s3_folder):
    """A client may remember the listing of a folder."""
    store = Store.open(s3_folder)
    folder = store.folder("rank", "00ff")
    store.commit(folder, "a-00000", Output(pa.table({"value": [1]})), {})
    assert store.committed(folder) == {"a-00000"}
    content = store.filesystem.cat_file(f"{folder}/a-00000.parquet")
    fsspec.filesystem("s3", skip_instance_cache=True).pipe_file(f"{folder}/a-00001.parquet", content)
    assert store.artifact(folder, "a-00001").table()["value"].to_pylist() == [1]
