"""Questions of downloaded images, as the list has them."""

from __future__ import annotations

from pathlib import Path

from committed import WRITER, only, write

from stages.annotate.questions import Questions
from stages.annotate.spec import AnnotateRecipe
from stages.contract import RunOptions, Shard
from stages.tables import IMAGES, QUESTIONS, URLS


def test_the_questions_of_downloaded_images(tmp_path: Path) -> None:
    answers = [{"answer": "net", "count": 9, "weight": 0.9}, {"answer": "mesh", "count": 1, "weight": 0.1}]
    asked = [
        {"question_id": "1", "question": "What?", "answer_type": "other", "answers": answers},
        {"question_id": "2", "question": "Why?", "answer_type": None, "answers": []},
    ]
    urls = [{"key": key, "source": "s", "questions": asked if key != "c" else None} for key in "abc"]
    images = [{"key": key, "status": "missing_file" if key == "a" else "success", "retry": 0} for key in "abc"]
    inputs = {
        "urls": write(tmp_path / "urls.parquet", urls, URLS),
        "images": write(tmp_path / "images.parquet", images, IMAGES),
    }
    output = Questions(AnnotateRecipe(), RunOptions())(Shard(only(inputs), "s", tmp_path, WRITER))
    assert output.table.schema == QUESTIONS
    assert output.table.to_pylist() == [{"key": "b", **one} for one in asked]
    assert output.counts == {"images": 1, "questions": 2}
