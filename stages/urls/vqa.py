"""VQAv2: questions and annotations as released, or one list of both as BLIP and LAVIS have it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from stages.errors import UserError
from stages.urls.asked import LIST, Asked, answers_of, gather, listed, question, said
from stages.urls.batch import Batch, Reader
from stages.urls.damage import Damage
from stages.urls.files import Files, filesystem, open_text
from stages.urls.human import Image, batches, captions, elements, first_element, has
from stages.urls.json_stream import JsonStream
from stages.urls.json_value import as_text
from stages.urls.settings import is_web
from stages.urls.spec import VqaSource

RELEASED = pa.schema([("image_id", pa.int64())])
SUBSET = "data_subtype"
"""Where a file of questions says which of COCO's folders its images are in."""


class Annotation(NamedTuple):
    """What people answered."""

    number: int
    """Which entry of the file it is, from 1."""
    answers: list[dict[str, Any]]
    answer_type: str | None


def schema(source: VqaSource, files: Files) -> pa.Schema:  # noqa: ARG001 - the file says it all
    """Return the columns of the form that the file has."""
    return LIST if first_element(files) is not None else RELEASED


def read(source: VqaSource, files: Files, columns: Sequence[str], damage: Damage) -> Iterator[Batch]:
    """Yield one row per image."""
    own = schema(source, files)
    images = _released(source, files, damage) if own is RELEASED else _listed(files[0], damage)
    yield from batches(source, images, own, columns, damage)


def _released(source: VqaSource, files: Files, damage: Damage) -> Iterator[Image]:
    """Yield the images in the order of their first questions.

    Questions come in any order of the images, and their answers in another file, so both are held in memory: about
    0.5 GB for the 444,000 questions of the training part.
    """
    place = _places(source, files[0])
    annotations = _annotations(files[1], damage) if len(files) > 1 else {}
    asked: Asked = {}
    for number, entry in elements(files[0], damage, "questions"):
        if has(entry, number, damage, image_id=int, question_id=int | str, question=str):
            found = annotations.pop(entry["question_id"], None)
            if found is None and len(files) > 1:
                damage.emptied(number, "a question without an annotation")
            more = {} if found is None else {"answers": found.answers, "answer_type": found.answer_type}
            name = as_text(entry["question_id"])
            gather(asked, entry["image_id"], number, question(entry, number, damage, name, **more))
    for left in annotations.values():
        damage.left_out(left.number, "an annotation of a question that is not in the list")
    for image, (number, questions) in asked.items():
        yield Image(number, place(image), [], {"image_id": image}, questions)


def _annotations(path: str, damage: Damage) -> dict[int | str, Annotation]:
    found: dict[int | str, Annotation] = {}
    for number, entry in elements(path, damage, "annotations"):
        if has(entry, number, damage, question_id=int | str, answers=list):
            given = captions(entry["answers"], number, damage, "answer")
            answers = answers_of(said(text, number, "answer", damage) for text in given)
            answer_type = entry.get("answer_type")
            kind = said(answer_type, number, "answer_type", damage) if isinstance(answer_type, str) else None
            found[entry["question_id"]] = Annotation(number, answers, kind)
    return found


def _places(source: VqaSource, path: str) -> Callable[[int], str]:
    """Where an image lies below the folder of the images: in COCO's folder of its part, or without one."""
    with open_text(path) as file:
        subset = JsonStream(file, path).value_of(SUBSET)
    if not isinstance(subset, str):
        raise UserError(f"{path} has no {SUBSET}, such as train2014, which names its images; take the file as released")
    part = subset.replace("test-dev", "test")  # the images are those of the whole test
    folder = f"{part}/"
    if not is_web(source.images):
        files, inner = filesystem(source.images)
        folder = folder if files.isdir(f"{inner.rstrip('/')}/{part}") else ""
    return lambda image: f"{folder}COCO_{part}_{image:012d}.jpg"


def _listed(path: str, damage: Damage) -> Iterator[Image]:
    for number, image, questions in listed(path, damage, "vqa"):
        yield Image(number, image, [], {"image": image}, questions)


READER = Reader(schema, read)
