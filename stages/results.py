"""What was predicted, in the formats that the evaluation servers of COCO and VQA read."""

from __future__ import annotations

import json
import re
from typing import Final

import pyarrow as pa

_NUMBERED: Final = re.compile(r"(?:COCO_\w+_)?0*(\d+)")
"""A file name of COCO, or of Flickr30k: the number that the image has there."""


def result_id(name: str) -> str:
    """What an image is called in results by its file or address: its number where the name is one, else the name."""
    stem = name.rsplit("/", 1)[-1].partition("?")[0].rpartition(".")[0] or name
    numbered = _NUMBERED.fullmatch(stem)
    return numbered[1] if numbered else stem


def vqa_results(answers: pa.Table) -> bytes:
    """A table of `tables.ANSWERED` as VQA's evaluation reads it, `[{"question_id": 262148000, "answer": "down"}]`.

    A question that could not be answered is left out.
    """
    rows = answers.select(["question_id", "answer", "error"]).to_pylist()
    found = [
        {"question_id": _number(row["question_id"]), "answer": row["answer"]} for row in rows if row["error"] is None
    ]
    return json.dumps(found, ensure_ascii=False).encode()


def _number(name: str) -> int | str:
    return int(name) if name.isdecimal() else name


def coco_results(predictions: pa.Table) -> bytes:
    """A table of `tables.PREDICTIONS` as `[{"image_id": 391895, "caption": "a man on a bike"}]`.

    An image of which nothing could be written is left out.
    """
    rows = predictions.select(["result_id", "caption", "error"]).to_pylist()
    found = [{"image_id": _number(row["result_id"]), "caption": row["caption"]} for row in rows if row["error"] is None]
    return json.dumps(found, ensure_ascii=False).encode()
