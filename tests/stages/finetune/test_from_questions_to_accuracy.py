"""From VQA's files to VQA accuracy: a small BLIP learns what colour and what shape pictures show, and is measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import torch
from learnable import COLOURS, GROUNDS, SHAPES, SIZES, draw
from small_models import save_tokenizer

from stages.models.bert_tokenizer import load_blip_tokenizer
from stages.models.blip.folder import write_folder
from stages.models.blip.trainable.config import BlipConfig, TextConfig, VisionConfig
from stages.models.blip.trainable.published import describe_trained
from stages.models.blip.trainable.vqa import Vqa

PARTS = ("train2014", "val2014")
MANIFEST = """\
output: out
sources:
  train: {format: vqa, path: v2_OpenEnded_mscoco_train2014_questions.json, images: images}
  val: {format: vqa, path: v2_OpenEnded_mscoco_val2014_questions.json, images: images, use: measure}
finetune: {task: vqa, init: ./init, image_size: 32, batch_size: 24, epochs: 60, lr: 3.0e-3, augment: none,
           drop_path: 0, dropout: 0, holdout: 0.1}
answer: {model: {from: finetune}}
evaluate_answers: {}
"""


def write_part(part: str) -> None:
    """Every fourth picture is for `val2014`; of each its colour and its shape are asked for."""
    questions, annotations = [], []
    Path("images", part).mkdir(parents=True)
    for number, (colour, shape, size, ground) in enumerate(product(COLOURS, SHAPES, SIZES, GROUNDS)):
        if (number % 4 == 3) != (part == "val2014"):
            continue
        Path(f"images/{part}/COCO_{part}_{number:012d}.jpg").write_bytes(draw(colour, shape, size, ground))
        circle = "yes" if shape == "circle" else "no"
        for place, (question, answer) in enumerate((("What colour is it?", colour), ("Is it a circle?", circle))):
            name = {"image_id": number, "question_id": 10 * number + place}
            questions.append({**name, "question": question})
            answers = [{"answer": answer, "answer_id": person} for person in range(10)]
            annotations.append({**name, "answer_type": ("other", "yes/no")[place], "answers": answers})
    asked = {"data_subtype": part, "questions": questions}
    Path(f"v2_OpenEnded_mscoco_{part}_questions.json").write_text(json.dumps(asked))
    Path(f"v2_mscoco_{part}_annotations.json").write_text(json.dumps({"annotations": annotations}))


def write_model() -> None:
    """Random weights."""
    Path("tokenizer").mkdir()
    save_tokenizer(Path("tokenizer"))
    tokenizer = load_blip_tokenizer("./tokenizer", None, "x")
    text = TextConfig(vocabulary=len(tokenizer), width=32, layers=2, heads=4, positions=40)
    config = BlipConfig(vision=VisionConfig(width=32, layers=2, heads=4, patch=8, image_size=32), text=text)
    torch.manual_seed(0)
    write_folder(Vqa(config).state_dict(), describe_trained(config, 32), tokenizer, Path("init"))


@pytest.mark.slow
def test_from_vqas_files_to_its_accuracy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for part in PARTS:
        write_part(part)
    write_model()
    Path("m.yaml").write_text(MANIFEST)
    command = [sys.executable, "-m", "pipeline.cli", "run", "m.yaml", "--executor", "local", "--json"]
    root = str(Path(__file__).parents[3])
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": root})
    assert ran.returncode == 0, ran.stderr
    found = {row["subset"]: row for row in json.loads(ran.stdout)["answering"]}
    assert {name: row["questions"] for name, row in found.items()} == {"all": 24, "other": 12, "yes/no": 12}
    assert found["all"]["value"] > 0.6  # who answers at random has 3/8
    (official,) = Path("out").glob("answer/*/val-*.json")
    results = json.loads(official.read_text())
    assert {type(row["question_id"]) for row in results} == {int}
    assert len(results) == 24
