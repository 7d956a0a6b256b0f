"""Questions and captions in one manifest: each step finds its own, and what is measured on is kept out of both."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.dag.wiring import wire
from pipeline.manifest.load import load_manifest
from stages.errors import UserError

MANIFEST = """\
output: out
sources:
  coco: {format: coco, path: coco.json, images: coco}
  coco_test: {format: coco, path: coco.json, images: coco, splits: [test], use: measure}
  asked: {format: vqa, path: train_questions.json, images: coco}
  genome: {format: vg_qa, path: vg_qa.json, images: vg}
  asked_val: {format: vqa, path: val_questions.json, images: coco, use: measure}
med: {text: google-bert/bert-base-uncased}
captioner: {stage: finetune, task: captioning, init: {from: med}}
reader: {stage: finetune, task: vqa, init: {from: med}}
predict: {model: {from: captioner}}
evaluate_captions: {}
answer: {model: {from: reader}}
evaluate_answers: {}
"""


def load(folder: Path, manifest: str) -> dict[str, dict[str, str]]:
    (folder / "m.yaml").write_text(manifest)
    found = load_manifest(folder / "m.yaml")
    wires = wire(found.steps, found.uses).wires
    return {name: {role: " ".join(names) for role, names in made.reads.items()} for name, made in wires.items()}


def test_each_step_finds_its_own(tmp_path: Path) -> None:
    found = load(tmp_path, MANIFEST)
    measured = "download/coco_test download/asked_val"
    pairs = {"images": "download/coco", "captions": "annotate/coco", "measured": measured}
    assert found["med"] == pairs  # nothing judges what people wrote, so nothing is selected
    assert found["captioner"] == pairs | {"init": "med"}
    roles = (("images", "download"), ("questions", "questions"))
    asked = {role: f"{step}/asked {step}/genome" for role, step in roles}
    assert found["reader"] == asked | {"measured": measured, "init": "med"}
    one = {"images": "download/asked_val", "questions": "questions/asked_val"}
    assert found["answer/asked_val"] == one | {"model": "reader"}
    assert found["evaluate_answers"] == {"questions": "questions/asked_val", "answers": "answer/asked_val"}
    assert found["predict/coco_test"]["model"] == "captioner"
    steps = {name.partition("/")[0] for name in found if name.endswith(("/asked", "/genome", "/asked_val"))}
    assert steps == {"urls", "download", "questions", "answer"}


@pytest.mark.parametrize(
    ("left_out", "words"),
    [
        (("answer:", "evaluate_answers:"), "asked_val: its 'use' is 'measure', and no section measures on it"),
        (("  asked:", "  genome:"), "reader: takes sources of questions whose 'use' is 'questions', and there is none"),
        (("  asked_val:",), "evaluate_answers: takes sources of questions whose 'use' is 'measure', and there is none"),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, left_out: tuple[str, ...], words: str) -> None:
    lines = [line for line in MANIFEST.splitlines() if not line.startswith(left_out)]
    with pytest.raises(UserError) as told:
        load(tmp_path, "\n".join(lines))
    assert words in str(told.value)


def test_annotations_that_are_measured_on_teach_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="its rows are also those of 'asked_val', which is measured on"):
        load(tmp_path, MANIFEST.replace("train_questions", "val_questions"))
