"""An output stands alone: with manifest, lists and models gone, a copy of it elsewhere gives what it gave before."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from picture_web import Web, picture

from tests.pipeline.command import capfilt
from tests.pipeline.dag.trainers import CHECKPOINTS, register
from tests.pipeline.test_cli import LOCAL
from tests.pipeline.test_growth import rows_of_views

MANIFEST = """\
output: out
removed: ../removed.txt
sources:
  web: {format: csv, path: lists/*.csv, keep: [note]}
  people: {format: coco, path: people.json, images: pictures}
urls: {shard_size: 2}
download: {allow_addresses: [127.0.0.1], retries: 0}
hash: {}
dedup: {near: 3}
med: {vision: models/itm, text: models/itm}
captioner: {stage: finetune, task: captioning, init: {from: med}}
caption: {model: models/captioner, candidates: 1}
caption_b: {stage: caption, model: {from: captioner}, candidates: 1}
filter: {model: models/itm}
select: {k: null, itm_threshold: 0.0}
"""
VIEWS = ("urls", "images", "captions", "corpus", "losses", "funnel", "failures", "duplicates", "training", "hosts")


@pytest.fixture
def home(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """The folder of a run in which one image did not come and one file is not whole; `moved` beside it is its copy."""
    register(monkeypatch)
    folder = tmp_path / "home"
    for name in ("lists", "pictures"):
        (folder / name).mkdir(parents=True)
    monkeypatch.chdir(folder)
    for name in ("itm", "captioner"):
        shutil.copytree(CHECKPOINTS / name, f"models/{name}")
    Path("../removed.txt").touch()
    rows = [f"{web.url(path)},text of {path},note of {path}" for path in ("/1", "/2", "/3", "/again/1")]
    Path("lists/a.csv").write_text("\n".join(["URL,TEXT,note", *rows]) + "\n")
    Path("lists/b.csv").write_bytes(f"URL,TEXT,note\n{web.url('/5')},\xe4,n\n".encode("latin-1"))
    Path("pictures/0.png").write_bytes(picture(0))
    said = {"filename": "0.png", "split": "train", "cocoid": 0, "sentences": [{"raw": "what people said"}]}
    Path("people.json").write_text(json.dumps({"images": [said]}))
    Path("m.yaml").write_text(MANIFEST)
    web.down.add("/3")
    code, _, err = capfilt(capsys, *LOCAL)
    assert code == 0, err
    web.shutdown()  # nobody asks it any more
    shutil.copytree("out", "../moved/out")
    return folder


def test_every_command_gives_of_a_copy_what_it_gave_of_a_manifest(
    home, web, tmp_path, own_scratch, capsys, monkeypatch
):
    url = web.url("/2")
    before = told(capsys, "m.yaml", home / "out", tmp_path / "first", url)
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(home)
    Path("removed.txt").unlink()
    after = told(capsys, "moved/out", tmp_path / "moved/out", tmp_path / "second", url)
    for command, said in before.items():
        assert after[command] == said, command
    assert after["forget"]["images"] == 1
    assert len(after["forget"]["models"]) == 2
    assert Path("removed.txt").read_text().split() == [url]


def told(capsys: pytest.CaptureFixture[str], target: str, out: Path, exports: Path, url: str) -> dict[str, Any]:
    """What every command says of an output, and what it exports, as if it lay somewhere else."""

    def ask(command: str, *more: object) -> Any:
        code, said, err = capfilt(capsys, command, target, *more, "--json")
        assert code == 0, err
        said = said.replace(str(exports), "EXPORTS").replace(str(out), "OUT")
        return json.loads(said), err.replace(str(out), "OUT")

    def views(step: str, leave: str = "") -> dict[str, Any]:
        rows = rows_of_views(str(target), {view: leave if view == "images" else "" for view in VIEWS})
        asked = ask("query", "SELECT * FROM corpus ORDER BY ALL")
        assert asked[0] == rows["corpus"]
        return {f"{step} query": asked, **{f"{step} {view}": found for view, found in rows.items()}}

    found = {**views("at first"), "status": ask("status")}
    found |= {f"export {form}": ask("export", exports / form, "--to", form) for form in ("json", "webdataset")}
    found |= {"files": contents(exports, out)}
    found |= {"compact": ask("compact"), **views("compacted"), "clean": ask("clean", "--unused", "--dry-run")}
    found |= {"forget": ask("forget", url)[0]}
    found["forget"]["exports"].sort(key=str)  # they are known by where they lie
    found |= {**views("forgotten"), "status then": ask("status")}
    return found


def contents(exports: Path, out: Path) -> dict[str, bytes]:
    """All files of exports but the marks, which say of what they were made."""
    return {
        str(path.relative_to(exports)): path.read_bytes().replace(str(out).encode(), b"OUT")
        for path in sorted(exports.rglob("*"))
        if path.is_file() and "export.json" not in path.name
    }


def state(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """All that lies in a folder; a folder's own time shows what was there for a moment."""
    return {
        str(path.relative_to(root)): (
            path.stat().st_mtime_ns,
            path.stat().st_mode,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in (root, *root.rglob("*"))
    }


def test_who_only_reads_writes_nothing(home, own_scratch, capsys):
    shutil.rmtree("out")
    out = Path("../moved/out").resolve()
    for path in (out, *out.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)  # root may write all the same: see below
    before = state(out)
    Path("m.yaml").write_text(MANIFEST.replace("output: out", "output: ../moved/out"))
    try:
        for target in (str(out), "m.yaml"):
            for command in (["query", target, "SELECT * FROM corpus"], ["status", target]):
                code, said, err = capfilt(capsys, *command)
                assert code == 0, err
                assert said
        code, said, err = capfilt(capsys, "plan", "m.yaml", "--json")
        assert code == 0, err
        assert {row["reason"] for row in json.loads(said)} == {""}
        code, _, err = capfilt(capsys, "clean", str(out), "--unused", "--dry-run")
        assert code == 0, err
        assert state(out) == before
    finally:
        for path in (out, *out.rglob("*")):
            path.chmod(0o755)
