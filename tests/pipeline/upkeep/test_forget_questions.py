"""Questions about an image, and their answers, are forgotten with it, in the list's tables too."""

from __future__ import annotations

import json
from pathlib import Path

from picture_web import picture
from test_cli import LOCAL, capfilt
from test_forget import holds, tables


def test_questions_about_an_image_go_with_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("images/train2014").mkdir(parents=True)
    for image in (1, 2):
        Path(f"images/train2014/COCO_train2014_{image:012d}.jpg").write_bytes(picture(image))
    entries = [{"image_id": image, "question_id": image, "question": f"Who is {image}?"} for image in (1, 2)]
    answers = [{"answer": f"person {number // 5}", "answer_id": number} for number in range(10)]
    annotations = [{**entry, "answers": answers} for entry in entries]
    Path("x_questions.json").write_text(json.dumps({"data_subtype": "train2014", "questions": entries}))
    Path("x_annotations.json").write_text(json.dumps({"annotations": annotations}))
    Path("removed.txt").touch()
    Path("m.yaml").write_text("""\
output: out
removed: removed.txt
sources:
  asked: {format: vqa, path: x_questions.json, images: images}
""")
    assert capfilt(capsys, *LOCAL)[0] == 0
    sql = "SELECT question, answers[2].answer, answers[2].weight FROM questions ORDER BY 1"
    _, out, _ = capfilt(capsys, "query", "m.yaml", sql, "--json")
    assert [list(row.values()) for row in json.loads(out)] == [[f"Who is {n}?", "person 1", 0.5] for n in (1, 2)]
    (gone, *_) = [row for table in tables("download") for row in table]
    assert capfilt(capsys, "forget", "m.yaml", gone["sha256"])[0] == 0
    left = [row["question"] for table in tables("questions") for row in table]
    assert len(left) == 1
    assert not holds({"Who is 1?": "Who is 2?", "Who is 2?": "Who is 1?"}[left[0]])
