"""Answer every question about every image that is measured on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa

from stages.answer.spec import AnswerRecipe, AnswerRun
from stages.contract import Output, Shard
from stages.io.image_batches import PixelBatch, batches
from stages.io.shards import Artifact
from stages.models import families, family
from stages.models.blip.answering import Answering
from stages.models.device import limit_threads, resolve_device
from stages.models.finite import NumberFormat
from stages.results import vqa_results
from stages.tables import ANSWERED


class Asked(NamedTuple):
    """A question."""

    row: int
    """Of the questions table."""
    text: str


class Answer:
    """The answer stage's compute."""

    def __init__(self, recipe: AnswerRecipe, run: AnswerRun) -> None:
        limit_threads(run.threads)
        self._run = run
        self._numbers = NumberFormat("answer", recipe.dtype)
        self._answerer = families.load_answerer(
            family.ModelName("answer.model", recipe.model, revision=recipe.revision),
            _answering(recipe),
            recipe.dtype,
            resolve_device(run.device, "answer.run.device"),
        )

    def __call__(self, shard: Shard) -> Output:
        """Answer the questions of one shard; beside the table lies the same in VQA's result format.

        Raises:
            UserError: the model's numbers are not finite for too many questions (`stages.models.finite`).
        """
        questions = shard.one("questions").table(["key", "question_id", "question"]).to_pylist()
        about: dict[str, list[Asked]] = defaultdict(list)
        for row, asked in enumerate(questions):
            about[asked["key"]].append(Asked(row, asked["question"]))
        told: list[dict[str, str | None]] = [{"answer": "", "error": "its image is not there"}] * len(questions)
        for row, answer, error in self._answers(shard.one("images"), about):
            told[row] = {"answer": answer, "error": error}
        rows = [
            {"key": asked["key"], "question_id": asked["question_id"], **found}
            for asked, found in zip(questions, told, strict=True)
        ]
        failed = sum(found["error"] is not None for found in told)
        infinite = sum(found["error"] == self._numbers.error for found in told)
        self._numbers.check(infinite, len(rows), "questions' logits")
        table = pa.Table.from_pylist(rows, schema=ANSWERED)
        (shard.scratch / "results.json").write_bytes(vqa_results(table))
        counts = {"questions": len(rows), "failed": failed}
        return Output(table, {"json": shard.scratch / "results.json"}, counts=counts)

    def _answers(self, images: Artifact, about: dict[str, list[Asked]]) -> Iterator[tuple[int, str, str | None]]:
        """The row of each question, its answer, and why there is none."""
        for batch in batches(images, self._answerer.preprocess, self._run.batch_size):
            for key, error in batch.broken.items():
                yield from ((asked.row, "", error) for asked in about.get(key, ()))
            if any(key in about for key in batch.keys):
                yield from self._look(batch, about)

    def _look(self, batch: PixelBatch, about: dict[str, list[Asked]]) -> Iterator[tuple[int, str, str | None]]:
        features = self._answerer.encode(batch.pixels)
        asked = [(image, one) for image, key in enumerate(batch.keys) for one in about.get(key, ())]
        for first in range(0, len(asked), self._run.questions):
            some: Sequence[tuple[int, Asked]] = asked[first : first + self._run.questions]
            shown = features[[image for image, _ in some]]
            found = self._answerer.answer(shown, [one.text for _, one in some])
            for (_, one), answer in zip(some, found, strict=True):
                yield one.row, answer or "", self._numbers.error if answer is None else None


def _answering(recipe: AnswerRecipe) -> Answering:
    return Answering(
        rank=recipe.decode == "rank",
        answer_list=recipe.answer_list,
        top_k=recipe.top_k,
        beams=recipe.beams,
        max_length=recipe.max_length,
        min_length=recipe.min_length,
        max_text_tokens=recipe.max_text_tokens,
        max_words=recipe.max_words,
    )
