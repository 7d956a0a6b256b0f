"""Checkpoints that are whole, few, and readable."""

from __future__ import annotations

import os
from pathlib import Path

import fsspec
import pytest
import torch

from stages.io.files import write_whole
from stages.training.checkpoints import Checkpoints


@pytest.fixture(params=["local", "memory"])
def folder(request, tmp_path) -> str:
    if request.param == "local":
        return str(tmp_path / "checkpoints")
    return f"memory://checkpoints-{os.getpid()}-{tmp_path.name}"


def names(folder: str) -> list[str]:
    filesystem, path = fsspec.core.url_to_fs(folder)
    return sorted(str(found).rsplit("/", 1)[-1] for found in filesystem.ls(path, detail=False))


def test_the_newest_of_the_last_few_is_found(folder):
    checkpoints = Checkpoints(folder, keep=2)
    assert checkpoints.newest() is None
    for step in (5, 10, 100):
        told = [{"step": step, "phase": "train", "lr": 0.1}, {"step": step, "phase": "holdout", "recall": 1 / 3}]
        checkpoints.save(step, {"step": step, "model": {"weight": torch.arange(3.0)}}, told)
    kept = ["step-00000005.jsonl", "step-00000010.jsonl", "step-00000010.pt", "step-00000100.jsonl", "step-00000100.pt"]
    assert names(folder) == kept
    step, state = checkpoints.newest()
    assert step == state["step"] == 100
    assert state["model"]["weight"].tolist() == [0, 1, 2]
    phases = [(step, phase) for step in (5, 10, 100) for phase in ("train", "holdout")]
    assert [(row["step"], row["phase"]) for row in checkpoints.history()] == phases
    assert checkpoints.history()[1]["recall"] == 1 / 3


def test_what_was_told_twice_counts_once(folder):
    checkpoints = Checkpoints(folder, keep=1)
    for last, first in ((3, 1), (5, 2)):  # the second was begun at an older checkpoint
        rows = [{"step": step, "phase": "train", "loss": step + last / 10} for step in range(first, last + 1)]
        checkpoints.save(last, {}, rows)
    assert [row["loss"] for row in checkpoints.history()] == [1.3, 2.5, 3.5, 4.5, 5.5]


@pytest.mark.parametrize("broken", [b"", b"no checkpoint at all", "half"])
def test_a_broken_one_gives_way_to_an_older_one(folder, broken):
    checkpoints = Checkpoints(folder, keep=2)
    for step in (1, 2):
        checkpoints.save(step, {"step": step, "model": torch.zeros(1000)}, [])
    filesystem, path = fsspec.core.url_to_fs(f"{folder}/step-00000002.pt")
    content = filesystem.cat_file(path)
    filesystem.pipe_file(path, content[: len(content) // 2] if broken == "half" else broken)
    assert checkpoints.newest()[0] == 1


def test_other_files_are_no_checkpoints(tmp_path):
    (tmp_path / ".step-00000007.pt.0a1b").write_bytes(b"left by a killed process")
    (tmp_path / "metrics.parquet").write_bytes(b"")
    assert Checkpoints(str(tmp_path), keep=1).newest() is None


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def fail(self: Path, target: Path) -> None:
        raise OSError("no room")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="no room"):
        write_whole(str(tmp_path / "file"), b"content")
    assert list(tmp_path.iterdir()) == []
