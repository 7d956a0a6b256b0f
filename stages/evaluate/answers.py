"""Answers that a model gave, against those of people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from stages.contract import CorpusJob, CorpusShard, Output, RunOptions
from stages.errors import UserError
from stages.evaluate.spec import AnswersRecipe
from stages.evaluate.tables import ANSWERING
from stages.metrics.vqa import vqa_accuracy

WHOLE = "all"
"""The name of all of a source, beside those of its parts."""
MEASURE = "VQA accuracy"


class EvaluateAnswers:
    """Measures every source that it is given, each a set of its own, and so each type of its answers."""

    def __init__(self, recipe: AnswersRecipe, run: RunOptions) -> None:
        del recipe, run

    def __call__(self, work: CorpusJob) -> Output:
        """Measure; questions that nobody or no model answered count for nothing.

        Raises:
            UserError: of a source no question has an answer of the model, or of people.
        """
        rows: list[dict[str, Any]] = []
        counts = {"questions": 0, "failed": 0, "unanswered": 0}
        for source in work.sources:
            found: dict[str, list[float]] = {WHOLE: []}
            for shard in (shard for shard in work.corpus if shard.source == source):
                for kind, accuracy in _judged(shard, counts):
                    found[WHOLE].append(accuracy)
                    if kind is not None:
                        found.setdefault(kind, []).append(accuracy)
            if not found[WHOLE]:
                raise UserError(
                    f"sources.{source}: no question of it has answers of people and of a model; the views `questions` "
                    "and `answers` say which it has"
                )
            rows += _rows(source, found)
            counts["questions"] += len(found[WHOLE])
        return Output(pa.Table.from_pylist(rows, schema=ANSWERING), counts=counts)


def _judged(shard: CorpusShard, counts: dict[str, int]) -> Iterator[tuple[str | None, float]]:
    """The type and the accuracy of every answer, and in `counts` what has none."""
    answers = shard.one("answers").table(["key", "question_id", "answer", "error"]).to_pylist()
    said = {(row["key"], row["question_id"]): row["answer"] for row in answers if row["error"] is None}
    for row in shard.one("questions").table(["key", "question_id", "answer_type", "answers"]).to_pylist():
        given = {each["answer"]: each["count"] for each in row["answers"] or ()}
        answer = said.get((row["key"], row["question_id"]))
        if answer is None:
            counts["failed"] += 1
        elif not given:
            counts["unanswered"] += 1
        else:
            yield row["answer_type"], vqa_accuracy(answer, given)


def _rows(source: str, found: Mapping[str, Sequence[float]]) -> Iterator[dict[str, Any]]:
    for subset in (WHOLE, *sorted(found.keys() - {WHOLE})):
        values = found[subset]
        value = sum(values) / len(values)
        yield {"source": source, "subset": subset, "measure": MEASURE, "value": value, "questions": len(values)}
