"""The quickstart, made small, for tests of the whole main job."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from picture_web import Web, serving

from tests.ports import free_port

ROOT = Path(__file__).parents[2]


@pytest.fixture
def web() -> Iterator[Web]:
    """A small web of pictures."""
    with serving() as running:
        yield running


@pytest.fixture
def own_scratch(tmp_path, monkeypatch) -> Path:
    """A folder for temporary files of the test's own: `capfilt clean` looks through it, and others kill processes."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def manifest(tmp_path) -> Path:
    """The quickstart's manifest, made small, with its world below `tmp_path`."""
    content = yaml.safe_load((ROOT / "manifests/quickstart.yaml").read_text())
    world = tmp_path / "world"
    content["demo"] |= {"folder": str(world), "images": 16, "human": 20, "port": free_port()}
    content["sources"]["web"]["path"] = str(world / "laion.parquet")
    for human in ("human", "human_test"):
        content["sources"][human] |= {"path": str(world / "human/dataset_coco.json"), "images": str(world / "human")}
    content["urls"]["shard_size"] = 8
    content["download"]["timeout"] = 5
    content["pretrain"] |= {"steps": 12, "warmup": 2, "batch_size": 8}
    content["pretrain"]["run"] = {"threads": 1, "cpus": 0.3, "checkpoint_every": 4}
    content["evaluate"]["run"] = {"threads": 1, "cpus": 0.3}
    for stage in ("caption", "rank", "filter", "pretrain"):
        content[stage]["model"] = str(ROOT / content[stage]["model"])
    content["pretrain"]["tokenizer"] = str(ROOT / content["pretrain"]["tokenizer"])
    path = tmp_path / "m.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path
