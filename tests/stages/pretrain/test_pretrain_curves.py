"""The event files hold the table's numbers, those of an interrupted training overwritten."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from stages.pretrain.compute import Pretrain


def events(folder: Path) -> Iterator[Event]:
    """Records of all files, in the order of time: length, its checksum, content, its checksum (TFRecord)."""
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        while content:
            length = struct.unpack("<Q", content[:8])[0]
            yield Event.FromString(content[12 : 12 + length])
            content = content[length + 16 :]


def drawn(folder: Path, tag: str) -> dict[int, float]:
    """As TensorBoard shows it: a restarted training takes back what was drawn from its step on."""
    found: dict[int, float] = {}
    for event in events(folder):
        if event.session_log.status == event.session_log.START:
            found = {step: value for step, value in found.items() if step < event.step}
        for value in event.summary.value:
            if value.tag == tag:
                found[event.step] = value.simple_value
    return found


def test_the_curves_are_the_table(make_recipe, make_job, run, tmp_path):
    class Interrupted(BaseException):
        pass

    def interrupt(row):
        if row["step"] == 5:
            raise Interrupted

    job, run = make_job(), run.model_copy(update={"tensorboard": str(tmp_path / "curves")})
    compute = Pretrain(make_recipe(steps=6, evaluate_every=3), run)
    with pytest.raises(Interrupted):
        compute.train(job, on_step=interrupt)
    rows = compute(job).table.to_pylist()
    for name in ("loss", "itc", "lr", "temperature", "images_per_second"):
        expected = {row["step"]: row[name] for row in rows if row["phase"] == "train"}
        assert drawn(tmp_path / "curves", f"train/{name}") == pytest.approx(expected, rel=1e-6), name
    recall = {row["step"]: row["r1_image_to_text"] for row in rows if row["phase"] == "holdout"}
    assert drawn(tmp_path / "curves", "holdout/r1_image_to_text") == pytest.approx(recall, rel=1e-6)
