"""VQA and Visual Genome's questions: one row an image, all its questions with the answers that people gave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stages.errors import UserError

TEN = ["net", "net", "net", "netting", "net", "mesh", "net", "Net", "net", "net"]
QUESTIONS = {
    "info": {"version": "2.0"},
    "task_type": "Open-Ended",
    "data_subtype": "train2014",
    "questions": [
        {"image_id": 9, "question": "What is this?", "question_id": 9000},
        {"image_id": 25, "question": "How many? ", "question_id": 25000},
        {"image_id": 9, "question": "Is it red?", "question_id": 9001},
    ],
}
ANNOTATIONS = {
    "data_subtype": "train2014",
    "annotations": [
        {
            "question_type": "is it",
            "multiple_choice_answer": said[0],
            "answers": [
                {"answer": answer, "answer_confidence": "yes", "answer_id": place + 1}
                for place, answer in enumerate(said)
            ],
            "image_id": name // 1000,
            "answer_type": kind,
            "question_id": name,
        }
        for name, kind, said in (
            (9001, "yes/no", ["yes"] * 10),
            (9000, "other", TEN),
            (25000, "number", ["2"] * 9 + ["3"]),
        )
    ],
}


@pytest.fixture
def released(tmp_path: Path) -> Path:
    (tmp_path / "v2_OpenEnded_mscoco_train2014_questions.json").write_text(json.dumps(QUESTIONS))
    (tmp_path / "v2_mscoco_train2014_annotations.json").write_text(json.dumps(ANNOTATIONS))
    (tmp_path / "coco/train2014").mkdir(parents=True)
    return tmp_path


def answer(text: str, count: int, weight: float) -> dict[str, Any]:
    return {"answer": text, "count": count, "weight": weight}


def test_vqa_as_released(released: Path, read: Any) -> None:
    table = read(format="vqa", path=f"{released}/v2_*_questions.json", images=f"{released}/coco", keep=("image_id",))
    net = [answer("net", 7, 0.7), answer("netting", 1, 0.1), answer("mesh", 1, 0.1), answer("Net", 1, 0.1)]
    what = {"question_id": "9000", "question": "What is this?", "answer_type": "other", "answers": net}
    red = {"question_id": "9001", "question": "Is it red?", "answer_type": "yes/no", "answers": [answer("yes", 10, 1)]}
    two = [answer("2", 9, 0.9), answer("3", 1, 0.1)]
    many = {"question_id": "25000", "question": "How many?", "answer_type": "number", "answers": two}
    assert table.select(["file", "text", "texts", "questions", "image_id"]).to_pylist() == [
        {"file": f"train2014/COCO_train2014_{image:012d}.jpg", "text": None, "texts": [], "questions": asked}
        | {"image_id": image}
        for image, asked in ((9, [what, red]), (25, [many]))
    ]


def test_a_folder_that_has_the_parts_own_images_and_the_web(released: Path, read: Any) -> None:
    path = f"{released}/v2_OpenEnded_mscoco_train2014_questions.json"
    assert read(format="vqa", path=path, images=f"{released}/coco/train2014")["file"].to_pylist() == [
        "COCO_train2014_000000000009.jpg",
        "COCO_train2014_000000000025.jpg",
    ]
    web = read(format="vqa", path=path, images="http://images.cocodataset.org")["url"].to_pylist()
    assert web[0] == "http://images.cocodataset.org/train2014/COCO_train2014_000000000009.jpg"


def test_annotations_may_be_missing_only_of_what_is_measured_on(released: Path, read: Any, source: Any) -> None:
    (released / "v2_mscoco_train2014_annotations.json").unlink()
    settings = {"format": "vqa", "path": f"{released}/*questions.json", "images": f"{released}/coco"}
    with pytest.raises(UserError, match=r"source web: .* has no v2_mscoco_train2014_annotations.json beside it"):
        read(**settings)
    asked = read(**settings, use="measure")["questions"].to_pylist()
    assert [[one["answers"] for one in questions] for questions in asked] == [[[], []], [[]]]
    assert [source(**settings, use=use).used for use in (None, "measure")] == ["questions", "measure_questions"]
    with pytest.raises(ValidationError):
        source(**settings, use="pairs")


def test_annotations_and_questions_without_each_other_are_told(released: Path, read_damaged: Any) -> None:
    other = {**ANNOTATIONS["annotations"][0], "question_id": 7}
    annotations = {"annotations": [*ANNOTATIONS["annotations"][1:], other]}
    (released / "v2_mscoco_train2014_annotations.json").write_text(json.dumps(annotations))
    _, damage = read_damaged(format="vqa", path=f"{released}/*questions.json", images=f"{released}/coco")
    assert damage.counts == {"left_out": 1, "emptied": 1}


def test_another_answer_makes_another_row(released: Path, read: Any) -> None:
    settings = {"format": "vqa", "path": f"{released}/*questions.json", "images": f"{released}/coco"}
    before = read(**settings)["key"].to_pylist()
    annotations = json.loads(json.dumps(ANNOTATIONS))
    annotations["annotations"][2]["answers"][0]["answer"] = "4"
    (released / "v2_mscoco_train2014_annotations.json").write_text(json.dumps(annotations))
    after = read(**settings)["key"].to_pylist()
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_blips_lists(tmp_path: Path, read: Any) -> None:
    image = "val2014/COCO_val2014_000000000042.jpg"
    vqa = [
        {"question_id": 5, "question": "What?", "image": image, "dataset": "vqa", "answer": ["a", "b", "a", "a"]},
        {"question_id": 6, "question": "Why?", "image": image, "dataset": "vqa"},
    ]
    (tmp_path / "vqa_val.json").write_text(json.dumps(vqa))
    (asked,) = read(format="vqa", path=f"{tmp_path}/vqa_val.json", images="coco")["questions"].to_pylist()
    assert asked[0]["answers"] == [answer("a", 3, 0.75), answer("b", 1, 0.25)]
    assert (asked[1]["question_id"], asked[1]["answers"]) == ("6", [])

    (tmp_path / "vg/VG_100K_2").mkdir(parents=True)
    (tmp_path / "vg/VG_100K_2/3.jpg").touch()
    vg = [{"image": f"image/{n}.jpg", "question": f"{n}?", "answer": "Green.", "dataset": "vg"} for n in (3, 4, 3)]
    (tmp_path / "vg_qa.json").write_text(json.dumps(vg))
    table = read(format="vg_qa", path=f"{tmp_path}/vg_qa.json", images=f"{tmp_path}/vg")
    assert table["file"].to_pylist() == ["VG_100K_2/3.jpg", "image/4.jpg"]
    first = table["questions"].to_pylist()[0]
    assert [one["question_id"] for one in first] == ["image/3.jpg#1", "image/3.jpg#2"]
    assert first[0]["answers"] == [answer("Green.", 1, 0.2)]


def test_visual_genome_as_released(tmp_path: Path, read: Any, read_damaged: Any) -> None:
    qas = [
        {"qa_id": 986769, "image_id": 1, "question": "What colour is the clock?", "answer": "Green.", "a_objects": []},
        {"qa_id": 986768, "image_id": 1, "question": "How tall?", "answer": None},
    ]
    (tmp_path / "question_answers.json").write_text(json.dumps([{"id": 1, "qas": qas}, {"id": 2, "qas": []}]))
    settings = {"format": "vg_qa", "path": f"{tmp_path}/question_answers.json", "images": str(tmp_path)}
    table, damage = read_damaged(**settings)
    assert table["file"].to_pylist() == ["VG_100K/1.jpg", "VG_100K/2.jpg"]
    (one,), none = table["questions"].to_pylist()
    assert (one["question_id"], one["answers"]) == ("986769", [answer("Green.", 1, 0.2)])
    assert none == []
    assert damage.counts == {"emptied": 1}
