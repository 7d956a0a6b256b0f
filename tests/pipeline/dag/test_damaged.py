"""What is left out of a list is said while it is read, at the run's end, by `status`, and beside the tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.execute.events import Event
from pipeline.execute.job import Report
from pipeline.watch.display import REMARKS, Remarks
from pipeline.watch.report import print_damaged
from stages.io.shards import Artifact
from stages.urls.keys import file_id
from tests.pipeline.command import capfilt

MANIFEST = """\
output: out
sources:
  web: {format: csv, path: "*.tsv", delimiter: "\\t", url: url, text: text}
caption: {model: none}
rank: {model: none}
select: {itm_threshold: null}
"""
TOLD = (
    "damaged: urls/web: {}: left out: 2 (first line 3: 1 field in place of 2); "
    "texts with U+FFFD in place of what is no text: 1 (first line 4: in 'text')"
)


def test_a_damaged_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.yaml").write_text(MANIFEST)
    lines = [b"http://a/1\tone", b"two", b"http://a/3\tcaf\xe9", b"http://a/4\t4\t4", b"http://a/5\tfive"]
    Path("a.tsv").write_bytes(b"\n".join([b"url\ttext", *lines]))
    Path("b.tsv").write_text("url\ttext\nhttp://a/6\tsix\n")
    told = TOLD.format(tmp_path / "a.tsv")
    code, _, err = capfilt(capsys, "run", "m.yaml", "--executor", "local", "--until", "urls")
    assert code == 0
    assert err.splitlines().count(told) == 2  # when the file was read, and at the end
    assert told in capfilt(capsys, "status", "m.yaml")[1].splitlines()
    damaged = json.loads(capfilt(capsys, "status", "m.yaml", "--json")[1])["damaged"]
    expected = {"node": "urls/web", "file": str(tmp_path / "a.tsv"), "left_out": 2, "replaced": 1, "words": told[19:]}
    assert damaged == [expected]
    (listing,) = Path("out").glob(f"urls/*/parts/{file_id('web', 'a.tsv')}-*.parquet")
    assert json.loads(Artifact(str(listing)).metadata()["counts"]) == {
        "rows": 3,
        "new": 3,
        "left_out": 2,
        "replaced": 1,
    }


def test_json_has_null_for_numbers_that_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.yaml").write_text(MANIFEST)
    Path("a.tsv").write_text("url\ttext\nhttp://a/6\tsix\n")
    sql = "SELECT 'NaN'::DOUBLE AS a, ['inf'::DOUBLE, 1.5] AS b, {'c': '-inf'::FLOAT} AS d, MAP {1: 'x'} AS e"
    code, out, _ = capfilt(capsys, "query", "m.yaml", sql, "--json")
    assert code == 0
    assert json.loads(out, parse_constant=pytest.fail) == [
        {"a": None, "b": [None, 1.5], "d": {"c": None}, "e": {"1": "x"}}
    ]


def test_many_damaged_files_are_told_as_far_as_a_person_reads(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(1, 1.0, damage="a.tsv: left out: 1")
    remarks = Remarks()
    told = [remarks.next(Event("done", "urls/web", str(number), report)) for number in range(REMARKS + 5)]
    assert told[: REMARKS + 1] == ["damaged: urls/web: a.tsv: left out: 1"] * REMARKS + [
        "more files are damaged; `capfilt status --json` lists them all"
    ]
    assert not any(told[REMARKS + 1 :])
    assert not remarks.next(Event("done", "urls/web", "b", Report(1, 1.0)))
    print_damaged(Console(width=200), [{"node": "urls/web", "words": "a.tsv: left out: 1"}] * (REMARKS + 5))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == REMARKS + 1
    assert lines[-1].startswith("damaged: 5 more files;")
