"""A list of words that texts are tagged by: no part of any result, and kept with the output."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipeline.manifest.flagged_words import read_words
from pipeline.session import open_session
from stages.errors import UserError
from tests.pipeline.command import capfilt
from tests.pipeline.test_cli import LOCAL

MANIFEST = """\
output: out
flagged_words: words.txt
sources: {web: {format: csv, path: web.csv}}
download: {retries: 0}
caption: {model: nowhere/model}
rank: {model: nowhere/model}
select: {itm_threshold: null}
"""
FLAGGED = "SELECT text FROM images WHERE list_contains(text_flags, 'offensive')"


def flagged(capsys: pytest.CaptureFixture[str], target: str) -> list[str]:
    code, out, err = capfilt(capsys, "query", target, FLAGGED, "--json")
    assert code == 0, err
    return [row["text"] for row in json.loads(out)]


def test_the_views_know_them_also_when_the_file_is_gone_and_another_list_changes_no_result(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Path("web.csv").write_text("URL,TEXT\nhttp://127.0.0.1:1/a,oh Darn it\nhttp://127.0.0.1:1/b,heck\n")
    Path("words.txt").write_text("# mild\n darn \n\n")
    Path("m.yaml").write_text(MANIFEST)
    assert capfilt(capsys, *LOCAL, "--until", "download")[0] == 0
    assert flagged(capsys, "m.yaml") == ["oh Darn it"]
    before = {node.fingerprint for node in open_session(Path("m.yaml")).graph.nodes.values()}
    Path("words.txt").write_text("heck\n")
    assert {node.fingerprint for node in open_session(Path("m.yaml")).graph.nodes.values()} == before
    assert capfilt(capsys, *LOCAL, "--until", "download")[0] == 0
    Path("words.txt").unlink()
    shutil.move("out", "moved")
    assert flagged(capsys, "moved") == ["heck"]
    code, _, err = capfilt(capsys, "plan", "m.yaml")
    assert code == 2
    assert "flagged_words: words.txt cannot be read (No such file or directory); name a text in UTF-8" in err


def test_the_file(tmp_path):
    path = tmp_path / "words.txt"
    path.write_bytes("\ufeffdarn\r\n# a remark\nholy \t cow\n\ndarn\ngröße\n".encode())
    assert read_words(str(path)) == ("darn", "holy cow", "größe")
    assert read_words(None) == ()
    path.write_bytes(b"caf\xe9\n")
    with pytest.raises(UserError, match=r"^flagged_words: .*words.txt cannot be read .*utf-8.*; name a text in UTF-8"):
        read_words(str(path))
