"""Copies are found across sources, get no captions, and are never lost silently."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from picture_web import Web

from pipeline.dag.graph import Graph, build_graph
from pipeline.manifest.load import load_manifest
from pipeline.session import open_session
from tests.pipeline.command import capfilt
from tests.pipeline.conftest import ROOT
from tests.pipeline.test_cli import LOCAL

FIRST = ["/1", "/2", "/1", "/again/2", "/small/1", "/3"]
"""The third has the address of the first, the fourth the bytes of the second, the fifth the looks of the first."""
SECOND = ["/4", "/small/3", "/5", "/again/4"]
ALIKE = [{"/1", "/small/1"}, {"/2", "/again/2"}, {"/3", "/small/3"}, {"/4", "/again/4"}]
"""What is the same picture; the first of the first source, and there of the least key, is no copy."""


@pytest.fixture
def folder(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, paths in (("first", FIRST), ("second", SECOND)):
        rows = [f"{web.url(path)},a picture,{number / 10}" for number, path in enumerate(paths)]
        Path(f"{name}.csv").write_text("\n".join(["URL,TEXT,pwatermark", *rows]) + "\n")
    write_manifest(["first", "second"])
    return tmp_path


def write_manifest(sources: list[str]) -> None:
    models = ROOT / "stages/demo/checkpoints"
    content: dict[str, Any] = {
        "output": "out",
        "sources": {name: {"format": "csv", "path": f"{name}.csv", "keep": ["pwatermark"]} for name in sources},
        "urls": {"shard_size": 4},
        "download": {"image_size": 32, "encode_format": "png", "encode_quality": 1, "allow_addresses": ["127.0.0.1"]},
        "hash": {},
        "dedup": {"near": 6},
        "caption": {"model": str(models / "captioner"), "candidates": 2},
        "rank": {"model": str(models / "clip")},
        "filter": {"model": str(models / "itm")},
        "select": {"itm_threshold": 0.0},
    }
    Path("m.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def graph_now() -> Graph:
    manifest = load_manifest(Path("m.yaml"))
    return build_graph(manifest.steps, manifest.sources)


def ask(capsys: pytest.CaptureFixture[str], sql: str) -> list[dict[str, Any]]:
    code, out, err = capfilt(capsys, "query", "m.yaml", sql, "--json")
    assert code == 0, err
    return json.loads(out)


def test_copies_are_named_and_get_no_captions(folder, web, capsys):
    code, out, err = capfilt(capsys, *LOCAL, "--json")
    assert code == 0, err
    images = ask(capsys, "SELECT source, key, url FROM images ORDER BY source, key")
    copies = {row["key"]: row for row in ask(capsys, "SELECT key, original, rule FROM duplicates")}
    for alike in ALIKE:
        first, *others = (row for row in images if row["url"].removeprefix(web.url("")) in alike)
        assert first["key"] not in copies
        assert {copies.pop(row["key"])["original"] for row in others} <= {first["key"], *(row["key"] for row in others)}
    assert copies == {}
    captioned = ask(capsys, "SELECT DISTINCT key FROM captions")
    distinct = ask(capsys, "SELECT key FROM images ANTI JOIN duplicates USING (key)")
    assert sorted(row["key"] for row in captioned) == sorted(row["key"] for row in distinct)
    steps = {(row["source"], row["step"]): row["count"] for row in json.loads(out)["funnel"]}
    assert [steps["first", step] for step in ("URLs", "images", "distinct", "captioned", "kept")] == [6, 6, 3, 3, 3]
    assert [steps["second", step] for step in ("URLs", "images", "distinct", "captioned", "kept")] == [4, 4, 2, 2, 2]
    losses = ask(capsys, "SELECT source, reason, count FROM losses WHERE stage = 'dedup' ORDER BY ALL")
    assert [(row["source"], row["reason"], row["count"]) for row in losses] == [
        ("first", "duplicate by content", 1),
        ("first", "duplicate by near", 1),
        ("first", "duplicate by url", 1),
        ("second", "duplicate by content", 1),
        ("second", "duplicate by near", 1),
    ]
    watermarks = ask(capsys, "SELECT DISTINCT key, pwatermark FROM captions WHERE source = 'first' ORDER BY key")
    assert len(watermarks) == 3
    assert {row["pwatermark"] for row in watermarks} <= {"0.0", "0.1", "0.2", "0.3", "0.4", "0.5"}


def test_a_source_below_leaves_those_above_as_they_are(folder):
    both = graph_now()
    write_manifest(["first"])
    one = graph_now()
    assert {name: node.fingerprint for name, node in both.nodes.items() if node.source == "first"} == {
        name: node.fingerprint for name, node in one.nodes.items()
    }
    write_manifest(["second", "first"])
    turned = graph_now()
    assert turned.nodes["caption/first"].fingerprint != both.nodes["caption/first"].fingerprint
    assert turned.nodes["download/first"].fingerprint == both.nodes["download/first"].fingerprint


def test_what_a_retry_brings_displaces_nothing(folder, web, capsys):
    web.down |= {"/1"}  # so that the picture of /small/1 is the first of its looks
    assert capfilt(capsys, *LOCAL)[0] == 0
    before = ask(capsys, "SELECT key, candidate, caption FROM captions ORDER BY ALL")
    copies = ask(capsys, "SELECT * FROM duplicates ORDER BY key")
    web.down.clear()
    code, _, err = capfilt(capsys, "retry", *LOCAL[1:])
    assert code == 0, err
    assert ask(capsys, "SELECT key, candidate, caption FROM captions ORDER BY ALL") == before
    after = ask(capsys, "SELECT * FROM duplicates ORDER BY key")
    assert [row for row in after if row in copies] == copies
    new = [row for row in after if row not in copies]
    small = ask(capsys, f"SELECT key FROM images WHERE url = '{web.url('/small/1')}'")[0]["key"]
    assert {row["original"] for row in new if row["rule"] == "near"} == {small}
    assert {row["rule"] for row in new} == {"near", "url"}
    assert ask(capsys, "SELECT count(*) AS n FROM images WHERE retry = 1")[0]["n"] == 2
    assert all(plan.is_done for plan in open_session(Path("m.yaml")).plans)
