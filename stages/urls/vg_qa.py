"""Questions of Visual Genome: question_answers.json as released, or BLIP's list of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from stages.urls.asked import LIST, VG_WEIGHT, Asked, answers_of, gather, listed, question, said
from stages.urls.batch import Batch, Reader
from stages.urls.damage import Damage
from stages.urls.files import Files
from stages.urls.human import Image, batches, elements, first_element, has
from stages.urls.json_value import as_text
from stages.urls.spec import VgQaSource
from stages.urls.vg import REGIONS, check_searchable, place_of, places_of


def schema(source: VgQaSource, files: Files) -> pa.Schema:
    """Return the columns of the form that the file has.

    Raises:
        UserError: the file names no folders, and `images` is a web address, which cannot be searched.
    """
    if "qas" not in (first_element(files) or {}):
        return LIST
    check_searchable(source, files)
    return REGIONS


def read(source: VgQaSource, files: Files, columns: Sequence[str], damage: Damage) -> Iterator[Batch]:
    """Yield one row per image."""
    own, places = schema(source, files), places_of(source)
    images = _released(files[0], places, damage) if own is REGIONS else _listed(files[0], places, damage)
    yield from batches(source, images, own, columns, damage)


def _released(path: str, places: Mapping[str, str], damage: Damage) -> Iterator[Image]:
    for number, entry in elements(path, damage):
        if has(entry, number, damage, id=int, qas=list):
            asked: Asked = {}
            for qa in entry["qas"]:
                _gather(asked, entry["id"], number, qa, damage)
            questions = asked[entry["id"]][1] if asked else []
            yield Image(number, place_of(entry["id"], places), [], {"image_id": entry["id"]}, questions)


def _gather(asked: Asked, image: int, number: int, qa: Any, damage: Damage) -> None:
    if not (isinstance(qa, dict) and isinstance(qa.get("question"), str) and isinstance(qa.get("answer"), str)):
        damage.emptied(number, "a question or an answer that is no text")
        return
    answers = answers_of([said(qa["answer"], number, "answer", damage)], VG_WEIGHT)
    gather(asked, image, number, question(qa, number, damage, as_text(qa.get("qa_id")), answers=answers))


def _listed(path: str, places: Mapping[str, str], damage: Damage) -> Iterator[Image]:
    for number, image, questions in listed(path, damage, "vg"):
        yield Image(number, places.get(PurePosixPath(image).name, image), [], {"image": image}, questions)


READER = Reader(schema, read)
