"""What failed for a reason that passes is tried again, and nothing else is touched."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from picture_web import Web, picture
from PIL import Image
from test_cli import LOCAL, capfilt

from pipeline.dag.fingerprint import fingerprint, stage_identity
from pipeline.session import open_session
from pipeline.store import Store
from stages.contract import Output
from stages.registry import STAGES

RUN = (*LOCAL, "--until", "download")
RETRY = ("retry", *RUN[1:])
PATHS = ["/1", "/2", "/3", "/4", "/5", "/6", "/7", "/8", "/9"]
SHARDS = ["web-00000-00000", "web-00000-00001", "web-00000-00002"]
SICK = {"/2", "/6"}
"""One in each of the first two shards."""


@pytest.fixture
def folder(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A download of three rows a shard, two of which failed, and what was made of it."""
    monkeypatch.chdir(tmp_path)
    rows = [f"{web.url(path)},text of {path}" for path in PATHS]
    Path("list.csv").write_text("\n".join(["URL,TEXT", *rows, "file:///etc/passwd,no address"]) + "\n")
    Path("m.yaml").write_text("""\
output: out
sources: {web: {format: csv, path: list.csv}}
urls: {shard_size: 3}
download: {image_size: 32, encode_format: png, encode_quality: 1, allow_addresses: [127.0.0.1], retries: 0}
caption: {model: nowhere/model}
rank: {model: nowhere/model}
select: {itm_threshold: null}
""")
    web.down |= SICK
    assert capfilt(capsys, *RUN)[0] == 0
    web.down.clear()
    make_captions_and_training()
    web.asked.clear()
    return tmp_path


def make_captions_and_training() -> None:
    """Results under some recipe, as earlier manifests may have left them."""
    session = open_session(Path("m.yaml"))
    download = session.graph.nodes["download/web"]
    _make(session.store, "caption", {"images": [download.fingerprint]}, SHARDS)
    caption = session.store.fingerprints("caption")[0]
    _make(session.store, "select", {"captions": [caption]}, SHARDS)
    select = session.store.fingerprints("select")[0]
    _make(session.store, "pretrain", {"selection": [select]}, ["corpus"])
    checkpoint = Path("out/pretrain", session.store.fingerprints("pretrain")[0], "checkpoints", "step-1")
    checkpoint.parent.mkdir()
    checkpoint.touch()
    _make(session.store, "rank", {"captions": ["0" * 16]}, SHARDS)  # of another download


def _make(store: Store, stage: str, inputs: dict[str, list[str]], shards: list[str]) -> None:
    identity = stage_identity(STAGES[stage], {}, inputs)
    folder = store.folder(stage, fingerprint(identity))
    store.record_recipe(folder, {"source": "web", "identity": identity})
    side = Path("side")
    side.write_text(stage)
    for shard in shards:
        store.commit(folder, shard, Output(pa.table({"key": [shard]}), sides={"txt": side}), {"stage": stage})


def images(shard: str) -> tuple[list[dict], dict[str, bytes]]:
    """The rows of a shard's table, and the files of its tar."""
    (path,) = Path("out/download").glob(f"*/{shard}.parquet")
    tar = path.with_name((pq.read_metadata(path).metadata or {})[b"side.tar"].decode())
    with tarfile.open(tar) as archive:
        members = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    return pq.read_table(path).to_pylist(), members


def pixels(encoded: bytes) -> bytes:
    return Image.open(io.BytesIO(encoded)).tobytes()


def made() -> dict[str, list[str]]:
    """By stage, the shards that it has tables of."""
    stages = ("caption", "select", "pretrain", "rank")
    return {stage: sorted(path.stem for path in Path("out", stage).glob("*/*.parquet")) for stage in stages}


def test_failed_rows_come_and_all_others_stay(folder, web, capsys):
    before = {shard: images(shard) for shard in SHARDS}
    third = {path: path.read_bytes() for path in Path("out/download").glob(f"*/{SHARDS[2]}*")}
    code, _, err = capfilt(capsys, *RETRY)
    assert code == 0
    assert "2 rows of 2 shards are tried again" in err
    assert web.asked == dict.fromkeys(SICK, 1)
    for shard, row, path in ((SHARDS[0], 1, "/2"), (SHARDS[1], 2, "/6")):
        (rows_before, members_before), (rows, members) = before[shard], images(shard)
        key = f"{shard}-{row:05d}"
        assert [found for found in rows if found["key"] != key] == [
            found for found in rows_before if found["key"] != key
        ]
        assert (rows_before[row]["status"], rows[row]["status"]) == ("http_5xx", "success")
        assert [found["key"] for found in rows] == [found["key"] for found in rows_before]
        assert {name: members[name] for name in members_before} == members_before
        assert set(members) - set(members_before) == {f"{key}.{ending}" for ending in ("png", "txt", "json")}
        assert list(members) == sorted(members, key=lambda name: name.partition(".")[0])  # in the rows' order
        assert pixels(members[f"{key}.png"]) == pixels(picture(int(path[1:])))
        assert json.loads(members[f"{key}.json"])["caption"] == f"text of {path}"
    assert {path: path.read_bytes() for path in third} == third


def test_what_was_made_of_a_changed_shard_goes_whatever_its_recipe(folder, capsys):
    assert capfilt(capsys, *RETRY)[0] == 0
    assert made() == {"caption": SHARDS[2:], "select": SHARDS[2:], "pretrain": [], "rank": SHARDS}
    assert not list(Path("out/pretrain").glob("*/checkpoints"))
    assert sorted(path.name.partition(".")[0] for path in Path("out").rglob("*.txt")) == sorted(
        [*SHARDS[2:] * 2, *SHARDS]
    )


def test_what_fails_again_changes_its_reason_and_nothing_else(folder, web, capsys):
    web.down.add("/6")
    before = made()
    assert capfilt(capsys, *RETRY, "--status", "timeout,http_4xx")[2].startswith("0 rows of 0 shards")
    assert not web.asked
    assert capfilt(capsys, *RETRY, "--status", "http_5xx")[0] == 0
    assert images(SHARDS[1])[0][2]["error"] == "HTTP 500 Internal Server Error"
    assert made()["caption"] == SHARDS[1:]
    assert before["caption"] == SHARDS
    assert capfilt(capsys, *RETRY)[2].startswith("1 rows of 1 shards")


@pytest.mark.parametrize("dies_at", ["remove", "commit", "unmark"])
def test_a_retry_that_died_goes_on_with_the_next_run(folder, capsys, monkeypatch, dies_at):
    class Death(BaseException):
        """Like a SIGKILL, nobody handles it."""

    def die(*_: object, **__: object) -> None:
        raise Death

    with monkeypatch.context() as patch:
        patch.setattr(Store, dies_at, die)
        with pytest.raises(Death):
            capfilt(capsys, *RETRY)
    capsys.readouterr()
    out = capfilt(capsys, "plan", "m.yaml")[1]
    assert "tries failed rows of 2 shards again" in " ".join(out.split())
    assert capfilt(capsys, *RUN)[0] == 0
    assert [row["status"] for shard in SHARDS[:2] for row in images(shard)[0]] == ["success"] * 6
    assert made() == {"caption": SHARDS[2:], "select": SHARDS[2:], "pretrain": [], "rank": SHARDS}
    assert not list(Path("out").rglob("*.retry.json"))
    assert len(list(Path("out/download").glob("*/*.tar"))) == len(images_shards())
    assert "nothing to do" in capfilt(capsys, *RUN)[1]


def images_shards() -> list[str]:
    return [path.stem for path in Path("out/download").glob("*/*.parquet")]


@pytest.mark.parametrize("status", ["success", "removed", "late", "", " , "])
def test_a_status_that_cannot_be_tried_again_is_named(folder, capsys, status):
    code, _, err = capfilt(capsys, *RETRY, "--status", status)
    assert code == 2
    assert f"--status {status.strip(' ,')}: choose of" in err
