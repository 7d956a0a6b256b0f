"""Fine-tuning for questions about images as the training loop sees it: of each question all of its answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from stages.finetune.build import Built
from stages.finetune.spec import FinetuneRecipe
from stages.finetune.task import FinetuneTask
from stages.models.blip.answer_list import most_common
from stages.models.blip.trainable.texts import Texts, moved
from stages.models.blip.trainable.vqa import Vqa, VqaBatch
from stages.models.device import autocast
from stages.training.corpus import Corpus
from stages.training.examples import Answer
from stages.training.feed import Drawn
from stages.training.holdout import CHUNK, read_held_out
from stages.training.pairs import Pairs
from stages.training.pictures import Pictures
from stages.training.place import Stretch
from stages.training.task import Row


class Asked(NamedTuple):
    """Questions and what may be said to them, on the CPU."""

    questions: Texts
    answers: Texts
    """Those of the first question, then those of the second, ..."""
    answers_of: tuple[int, ...]
    """How many answers each question has."""
    weights: Tensor
    """(answers,), float32."""


class Prepared(NamedTuple):
    """A part as it lies on the CPU."""

    drawn: Drawn
    asked: Asked


class HeldOutQuestions(NamedTuple):
    """The images that are kept back, each with its first question."""

    images: Tensor
    """(images, 3, height, width), or (images, tokens, width) of a frozen tower."""
    asked: tuple[Asked, ...]
    """`CHUNK` images at a time."""


def hold_out_questions(key: str, corpus: Corpus, pictures: Pictures, built: Built) -> HeldOutQuestions | None:
    """Read what is kept back of a corpus; None where nothing is.

    Raises:
        UserError: fewer than two of the images can be decoded.
    """
    if (kept := read_held_out(key, corpus, pictures)) is None:
        return None
    images, found = kept
    chunks = (found[first : first + CHUNK] for first in range(0, len(found), CHUNK))
    asked = (ask(built, [(each.captions[0], each.answers[0]) for each in chunk]) for chunk in chunks)
    return HeldOutQuestions(images, tuple(asked))


def ask(built: Built, questions: Sequence[tuple[str, Sequence[Answer]]]) -> Asked:
    """Questions with their answers as the model reads them."""
    answers = [answer for _, own in questions for answer in own]
    return Asked(
        built.tokens([text for text, _ in questions]),
        built.tokens([answer.text for answer in answers], built.config.text.positions),
        tuple(len(own) for _, own in questions),
        torch.tensor([answer.weight for answer in answers]),
    )


class AnsweringTask(FinetuneTask):
    """A BLIP that answers, its questions and its loss."""

    def __init__(  # noqa: PLR0913, PLR0917 - what it is made of
        self,
        recipe: FinetuneRecipe,
        built: Built,
        pairs: Pairs,
        held_out: HeldOutQuestions | None,
        corpus: Corpus,
        device: torch.device,
    ) -> None:
        super().__init__(recipe, built, pairs, None, device)
        self._asked = held_out
        self._corpus = corpus
        self.measures = held_out is not None

    def batches(self, stretch: Stretch) -> Generator[VqaBatch]:
        """A worker's parts of the steps."""
        return self._pairs.batches(stretch, self._ask, self._show)

    @torch.no_grad()
    def measure(self, step: int) -> Row:  # noqa: ARG002 - the same after every step
        """The loss of the questions that are kept back, and negated the `score` by which the best model is kept."""
        model, held_out = self.built.model, self._asked
        assert isinstance(model, Vqa)
        assert held_out is not None
        model.eval()
        total = 0.0
        for number, asked in enumerate(held_out.asked):
            images = held_out.images[number * CHUNK : (number + 1) * CHUNK].to(self._device)
            batch = moved(VqaBatch(images, *asked), self._device)
            with autocast(self.dtype, self._device):
                total += model(batch).loss.item() * len(asked.answers_of)
        model.train()
        loss = total / len(held_out.images)
        return {"images": len(held_out.images), "lm": loss, "score": -loss}

    def common_answers(self) -> list[str]:
        """What people answered most in the training, for a model to choose from."""
        weights: dict[str, float] = defaultdict(float)
        for row in self._corpus.training_rows():
            for answer in (answer for own in row.answers for answer in own):
                weights[answer.text] += answer.weight
        return most_common(weights)

    def _ask(self, drawn: Drawn) -> Prepared:
        examples = [turn.example for turn in drawn.turns]
        return Prepared(drawn, ask(self.built, [(each.captions[0], each.answers[0]) for each in examples]))

    def _show(self, prepared: Prepared) -> VqaBatch:
        return moved(VqaBatch(self._pairs.images(prepared.drawn), *prepared.asked), self._device)
