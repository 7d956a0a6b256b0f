"""One file of several cannot be read: what a person sees, what goes on, and what is computed when it was put right."""

from __future__ import annotations

import io
import json
import re
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from tests.pipeline.command import capfilt

MANIFEST = """\
output: out
sources: {tars: {format: webdataset, path: "tars/{00000..00002}.tar"}}
dedup: {}
caption: {model: org/captioner}
rank: {model: org/clip}
select: {itm_threshold: null}
"""
RUN = ("run", "m.yaml", "--executor", "local", "--until", "download")


def tar(number: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for row in range(3):
            image = io.BytesIO()
            Image.new("RGB", (32, 24), (number, row, 0)).save(image, "PNG")
            for ending, content in (("png", image.getvalue()), ("txt", b"%d of %d" % (row, number))):
                member = tarfile.TarInfo(f"{number}{row}.{ending}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tars").mkdir()
    for number in range(3):
        (tmp_path / f"tars/0000{number}.tar").write_bytes(tar(number))
    (tmp_path / "m.yaml").write_text(MANIFEST)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def images(capsys: pytest.CaptureFixture[str]) -> list[str]:
    _, out, _ = capfilt(capsys, "query", "m.yaml", "SELECT text FROM images WHERE status = 'success'", "--json")
    return sorted(row["text"] for row in json.loads(out))


def tables(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.glob("out/download/*/*.parquet")}


def test_a_broken_tar_is_listed_and_only_it_is_read_once_it_is_whole(folder, capsys):
    broken = folder / "tars/00001.tar"
    broken.write_bytes(tar(1)[:2000])
    code, _, err = capfilt(capsys, *RUN)
    assert code == 1
    assert re.search(
        rf"failed: urls/tars tars-[0-9a-f-]+ after 1 attempt\(s\): {re.escape(str(broken))} cannot be read: ", err
    )
    good = [f"{row} of {number}" for row in range(3) for number in (0, 2)]
    assert images(capsys) == sorted(good)
    done = tables(folder)
    assert len(done) == 2

    broken.write_bytes(b"")  # it is broken in another way, which is all the same for the others
    code, out, _ = capfilt(capsys, "plan", "m.yaml", "--json")
    plans = {row["node"]: row for row in json.loads(out)}
    assert (code, plans["download/tars"]["done"], plans["download/tars"]["total"]) == (0, 2, 2)
    assert plans["dedup/tars"]["reason"] == f"blocked: it reads all shards at once, and {broken} cannot be read"

    broken.write_bytes(tar(1))
    code, _, err = capfilt(capsys, *RUN)
    assert code == 0
    assert "failed" not in err
    assert images(capsys) == sorted([*good, *(f"{row} of 1" for row in range(3))])
    assert tables(folder).items() >= done.items()

    broken.write_bytes(tar(3))  # another file of that name: its rows are new, and those before count no more
    capfilt(capsys, *RUN)
    assert images(capsys) == sorted([*good, *(f"{row} of 3" for row in range(3))])
    assert tables(folder).items() >= done.items()


def test_what_reads_all_shards_is_blocked_by_name(folder, capsys):
    (folder / "tars/00001.tar").write_bytes(b"<html>")
    code, _, err = capfilt(capsys, "run", "m.yaml", "--executor", "local", "--until", "dedup")
    assert code == 1
    assert f"blocked: dedup/tars reads all shards at once, and lacks {folder / 'tars/00001.tar'}" in err


def test_where_all_has_failed_nothing_is_said_to_be_done(folder, capsys):
    for path in (folder / "tars").iterdir():
        path.write_bytes(b"<html>")
    for _ in range(2):
        code, out, _ = capfilt(capsys, *RUN)
        assert code == 1
        assert out.startswith("nothing was done: 3 failed, 3 wait for others\n")
