"""What `capfilt clean` takes, and what it leaves."""

from __future__ import annotations

import math
import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest

from pipeline.store import Store
from pipeline.upkeep.clean import Cleaned, _abort_uploads, age_of, clean
from stages.contract import Output
from stages.errors import UserError
from stages.io.files import scratch_folder

AT_ONCE = timedelta(0)
pytestmark = pytest.mark.usefixtures("own_scratch")


@pytest.fixture
def store(tmp_path) -> Store:
    """An output with a shard that has a side file of its own, and one that names a file elsewhere."""
    store = Store.open(str(tmp_path / "out"))
    side = tmp_path / "side"
    side.write_text("x")
    folder = store.folder("download", "00000000000000ff")
    store.commit(folder, "a-00000", Output(pa.table({"value": [1]}), sides={"tar": side}), {})
    store.commit(folder, "b-00000", Output(pa.table({"value": [1]}), links={"tar": "/elsewhere/b.tar"}), {})
    store.record_recipe(folder, {"source": "web", "identity": {}})
    store.record_failure(folder, "c-00000", {"error": "bad", "attempts": 3})
    return store


def files(store: Store) -> set[str]:
    return {str(path.relative_to(store.root)) for path in Path(store.root).rglob("*")}


STRAYS = [
    "download/00000000000000ff/.a-00000.parquet.0123456789ab",  # a table that was being written
    "download/00000000000000ff/.a-00000.0123456789ab.tar.0123456789ab",  # a side file that was being written
    "download/00000000000000ff/a-00000.0123456789ab.tar",  # the side file of a second host
    "download/00000000000000ff/b-00000.0123456789ab.tar",
    "download/00000000000000ff/d-00000.0123456789ab.tar",  # whose table never came
    "urls/00000000000000ff/parts/.web-00000.parquet.0123456789ab",
    "pretrain/00000000000000ff/checkpoints/.step-00000004.pt.0123456789ab",
    ".catalog.duckdb.0123456789ab",
    "exports/.0123456789abcdef.json.0123456789ab",
]


@pytest.mark.parametrize("stray", STRAYS)
def test_a_stray_goes_and_all_else_stays(stray, store):
    path = Path(store.root) / stray
    path.parent.mkdir(parents=True, exist_ok=True)
    before = files(store)
    path.write_text("half")
    told = clean(store, older_than=AT_ONCE, keep=None, dry_run=True)
    assert (told.strays, told.bytes) == ([str(path)], 4)
    assert path.exists()
    assert clean(store, older_than=timedelta(hours=1), keep=None, dry_run=False).strays == []
    assert clean(store, older_than=AT_ONCE, keep=None, dry_run=False) == told
    assert files(store) == before
    assert clean(store, older_than=AT_ONCE, keep=None, dry_run=False).strays == []


def test_results_that_nobody_asks_for_go_on_demand(store):
    kept, other = store.folder("download", "00000000000000ff"), store.folder("download", "00000000000000ee")
    store.commit(other, "a-00000", Output(pa.table({"value": [1]})), {})
    assert clean(store, older_than=AT_ONCE, keep=None, dry_run=False).unused == []
    assert clean(store, older_than=AT_ONCE, keep={kept}, dry_run=False).unused == [other]
    assert store.fingerprints("download") == ["00000000000000ff"]
    assert store.committed(kept) == {"a-00000", "b-00000"}


def test_scratch_of_processes_that_are_gone(store, own_scratch):
    ended = subprocess.Popen(["true"])
    ended.wait()
    dead, foreign = own_scratch / f"capfilt-{ended.pid}-abc", own_scratch / "capfilt-demo-lessons-x"
    for folder in (dead, foreign):
        folder.mkdir()
        (folder / "images.tar").write_text("x" * 10)
    with scratch_folder() as alive:
        assert alive.name.startswith(f"capfilt-{os.getpid()}-")
        found = clean(store, older_than=AT_ONCE, keep=None, dry_run=False)
        assert (found.strays, found.bytes) == ([str(dead)], 10)
        assert alive.exists()
    assert not dead.exists()
    assert foreign.exists()


def test_what_a_run_takes_away_meanwhile_is_no_error(store, monkeypatch):
    place = Path(store.root, "download/00000000000000ff")
    names = [place / f"{shard}-00000.0123456789ab.tar" for shard in "def"]
    for path in names:
        path.write_text("half")
    modified, du = type(store.filesystem).modified, type(store.filesystem).du

    def vanish(path: Path, look):
        def looking(self, url):
            if url == str(path):
                path.unlink()
            return look(self, url)

        return looking

    monkeypatch.setattr(type(store.filesystem), "modified", vanish(names[0], modified))
    monkeypatch.setattr(type(store.filesystem), "du", vanish(names[1], du))
    found = clean(store, older_than=AT_ONCE, keep=None, dry_run=False)
    assert (found.strays, found.bytes) == ([str(names[2])], 4)


@pytest.mark.parametrize(("root", "prefix"), [("s3://bucket", ""), ("s3://bucket/a/b", "a/b/")])
def test_uploads_are_looked_for_below_the_output(root, prefix):
    asked = []

    class Filesystem:
        protocol = ("s3",)

        def call_s3(self, what: str, **options: str) -> dict:
            asked.append((what, options))
            return {}

    store = SimpleNamespace(root=root, filesystem=Filesystem())
    _abort_uploads(store, datetime.now(UTC), dry_run=False, done=Cleaned())
    assert asked == [("list_multipart_uploads", {"Bucket": "bucket", "Prefix": prefix})]


def test_an_age_that_no_file_has():
    assert age_of(90) == timedelta(hours=1.5)
    for minutes in (math.inf, math.nan, 1e300, 1e10):
        with pytest.raises(UserError, match=r"--older-than \S+: no file is so old; name a number of minutes"):
            age_of(minutes)
