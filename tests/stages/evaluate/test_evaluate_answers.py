"""Answers against people's: each set, and each type of its answers, by itself."""

from __future__ import annotations

import pytest
from committed import only, write

from stages.contract import CorpusJob, CorpusShard, RunOptions
from stages.errors import UserError
from stages.evaluate.answers import EvaluateAnswers
from stages.evaluate.spec import AnswersRecipe
from stages.evaluate.tables import ANSWERING
from stages.tables import ANSWERED, QUESTIONS


def people(**counts: int) -> list[dict]:
    return [{"answer": answer, "count": count, "weight": count / 10} for answer, count in counts.items()]


JUDGED = [  # type, people's answers, the model's, its accuracy by hand
    ("yes/no", people(yes=10), "Yes.", 1.0),
    ("yes/no", people(yes=2, no=8), "yes", 0.6),
    ("number", people(two=1, three=9), "3", 0.0),  # people's number words stay
    ("other", people(red=3, blue=7), "the red", 0.9),
    (None, people(dog=1), "dog", 0.0),  # one person cannot agree with others
    ("other", [], "cat", None),
    ("other", people(cat=10), None, None),
]


def job(tmp_path, judged) -> CorpusJob:
    shards = []
    for part in range(2):
        own = list(enumerate(judged))[part::2]
        questions = [
            {
                "key": f"k{number // 3}",
                "question_id": str(number),
                "question": "?",
                "answer_type": kind,
                "answers": given,
            }
            for number, (kind, given, _, _) in own
        ]
        answers = [
            {"key": f"k{number // 3}", "question_id": str(number), "answer": said or ""}
            | {"error": None if said else "cannot be decoded: it is none"}
            for number, (_, _, said, _) in own
        ]
        inputs = {
            "questions": write(tmp_path / f"q{part}.parquet", questions, QUESTIONS),
            "answers": write(tmp_path / f"a{part}.parquet", answers, ANSWERED),
        }
        shards.append(CorpusShard(only(inputs), "vqa", str(part)))
    return CorpusJob(tuple(shards), str(tmp_path), tmp_path, {}, ("vqa",))


def test_each_set_and_each_type_of_its_answers(tmp_path):
    output = EvaluateAnswers(AnswersRecipe(), RunOptions())(job(tmp_path, JUDGED))
    assert output.table.schema == ANSWERING
    assert output.counts == {"questions": 5, "failed": 1, "unanswered": 1}
    found = {row["subset"]: (row["value"], row["questions"]) for row in output.table.to_pylist()}
    assert found == {
        "all": (pytest.approx(2.5 / 5), 5),
        "number": (0.0, 1),
        "other": (pytest.approx(0.9), 1),
        "yes/no": (pytest.approx(0.8), 2),
    }
    assert {(row["source"], row["measure"]) for row in output.table.to_pylist()} == {("vqa", "VQA accuracy")}


def test_a_set_without_answers_says_where_to_look(tmp_path):
    with pytest.raises(UserError, match=r"sources\.vqa: no question of it has answers of people and of a model"):
        EvaluateAnswers(AnswersRecipe(), RunOptions())(job(tmp_path, JUDGED[5:]))
