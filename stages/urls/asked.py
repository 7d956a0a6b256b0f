"""Questions about images, as lists have them: gathered by image, each with the different answers that people gave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import pyarrow as pa

from stages.urls.damage import Damage
from stages.urls.human import captions, elements, has
from stages.urls.json_value import as_text
from stages.urls.text import clean_text

LIST: Final = pa.schema([("image", pa.string())])
"""The own columns of a list of questions as BLIP has it."""
VG_WEIGHT: Final = 0.2
"""What an answer of Visual Genome counts, which has one a question (BLIP's data/vqa_dataset.py)."""

Question = dict[str, Any]
"""As `tables.ASKED` has it."""
Asked = dict[Any, tuple[int, list[Question]]]
"""By image, the number of its first entry and its questions."""


def answers_of(given: Iterable[str], weight: float | None = None) -> list[dict[str, Any]]:
    """The different answers, as `tables.ANSWERS` has them.

    Args:
        given: of every person the answer.
        weight: what each counts in training; None for its share of the people (BLIP's data/vqa_dataset.py).
    """
    counts = Counter(given)
    return [
        {"answer": answer, "count": count, "weight": count / counts.total() if weight is None else weight}
        for answer, count in counts.items()
    ]


def question(entry: Mapping[str, Any], number: int, damage: Damage, name: str | None, **more: Any) -> Question | None:
    """A question as it is kept; None, and told, where it says nothing.

    Args:
        entry: with the text under `question`.
        number: the entry's.
        damage: is told.
        name: what it is called in results.
        more: its `answers` and `answer_type`.
    """
    text = said(entry["question"], number, "question", damage)
    if not text:
        damage.left_out(number, "an empty question")
        return None
    return {"question_id": name, "question": text, "answer_type": None, "answers": [], **more}


def said(text: str, number: int, column: str, damage: Damage) -> str:
    """A text as it can be stored."""
    clean = clean_text(text)
    if clean != text:
        damage.replaced(number, column)
    return clean.strip()


def gather(asked: Asked, image: Any, number: int, found: Question | None) -> None:
    """Add a question to its image; one without a name of its own is called by its place among the image's."""
    if found is not None:
        questions = asked.setdefault(image, (number, []))[1]
        name = found["question_id"] if found["question_id"] is not None else f"{image}#{len(questions) + 1}"
        questions.append({**found, "question_id": name})


def listed(path: str, damage: Damage, dataset: str) -> Iterator[tuple[int, str, list[Question]]]:
    """Yield the images of a list of {question, answer, image, dataset, question_id} with their questions.

    The questions of an image need not follow one another, so the list is held in memory, about 0.5 kB a question.

    Args:
        path: the file.
        damage: is told what is left out.
        dataset: `vqa` or `vg`, of entries that do not say.
    """
    asked: Asked = {}
    for number, entry in elements(path, damage):
        if has(entry, number, damage, image=str, question=str):
            given = captions(entry["answer"], number, damage) if entry.get("answer") is not None else []
            weight = VG_WEIGHT if entry.get("dataset", dataset) == "vg" else None
            answers = answers_of((said(text, number, "answer", damage) for text in given), weight)
            name = as_text(entry.get("question_id"))
            gather(asked, entry["image"], number, question(entry, number, damage, name, answers=answers))
    yield from ((number, image, questions) for image, (number, questions) in asked.items())
