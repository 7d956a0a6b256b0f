"""A source that people have described and for which captions are written, too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from picture_web import picture

from tests.pipeline.command import capfilt
from tests.pipeline.conftest import ROOT
from tests.pipeline.test_cli import LOCAL

SAID = [["A red circle.", "one circle", " A red circle. "], ["two squares"], ["blank", " "]]
"""What people said of each picture."""
KEPT = [["A red circle.", "one circle"], ["two squares"], ["blank"]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("pictures").mkdir()
    images = []
    for number, texts in enumerate(SAID):
        Path(f"pictures/{number}.png").write_bytes(picture(number))
        sentences = [{"raw": text} for text in texts]
        images.append({"filename": f"{number}.png", "split": "train", "cocoid": number, "sentences": sentences})
    Path("people.json").write_text(json.dumps({"images": images}))
    models = ROOT / "stages/demo/checkpoints"
    content: dict[str, Any] = {
        "output": "out",
        "sources": {"people": {"format": "coco", "path": "people.json", "images": "pictures", "use": "both"}},
        "caption": {"model": str(models / "captioner"), "candidates": 2},
        "other": {"stage": "caption", "model": str(models / "captioner"), "candidates": 1, "seed": 5},
        "rank": {"model": str(models / "clip")},
        "filter": {"model": str(models / "itm")},
        "select": {"k": 1, "itm_threshold": 0.0},
    }
    Path("m.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return tmp_path


def ask(capsys: pytest.CaptureFixture[str], sql: str) -> list[dict[str, Any]]:
    code, out, err = capfilt(capsys, "query", "m.yaml", sql, "--json")
    assert code == 0, err
    return json.loads(out)


def test_what_people_said_is_kept_and_the_best_of_what_was_written_follows(folder, capsys):
    code, out, err = capfilt(capsys, *LOCAL, "--json")
    assert code == 0, err
    rows = ask(capsys, "SELECT * FROM captions ORDER BY key, origin, writer, candidate")
    numbers = {row["key"]: int(row["file"][0]) for row in ask(capsys, "SELECT key, file FROM urls")}
    for key, number in numbers.items():
        own = [row for row in rows if row["key"] == key]
        human = [row for row in own if row["origin"] == "human"]
        assert [row["caption"] for row in human] == KEPT[number]
        expected = [(place, "human") for place in range(1, len(human) + 1)]
        assert [(row["rank"], row["reason"]) for row in human] == expected
        written = [row for row in own if row["origin"] == "synthetic"]
        assert sorted(row["candidate"] for row in written) == [1, 1, 2]
        assert len({row["writer"] for row in written}) == 2
        allowed = sorted((row for row in written if row["rank"]), key=lambda row: row["rank"])
        assert [row["rank"] for row in allowed] == list(range(len(human) + 1, len(human) + 1 + len(allowed)))
        assert [row["clip_score"] for row in allowed] == sorted((row["clip_score"] for row in allowed), reverse=True)
        assert [row["reason"] for row in allowed] == ["kept", *["outranked"] * (len(allowed) - 1)]
        assert {row["reason"] for row in written if not row["rank"]} <= {"duplicate"}
        assert all(row["clip_score"] is not None and row["itm_score"] is not None for row in own)
    corpus = ask(capsys, "SELECT origin, count(*) AS count FROM corpus GROUP BY origin ORDER BY origin")
    assert corpus == [{"origin": "human", "count": 4}, {"origin": "synthetic", "count": 3}]
    steps = {row["step"]: row["count"] for row in json.loads(out)["funnel"]}
    assert steps == {"URLs": 3, "images": 3, "captioned": 3, "kept": 3, "captions kept": 7}
