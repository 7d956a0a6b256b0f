"""The answers that a BLIP chooses from, as a JSON list of texts: BLIP's `answer_list.json`, and ours beside a model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from stages.errors import UserError

MOST: Final = 3128
"""As many as BLIP's list has (blip_vqa.py ranks them)."""
FILE: Final = "answer_list.json"
"""The file beside a trained model's weights."""


def most_common(weights: Mapping[str, float]) -> list[str]:
    """At most `MOST` answers, those of the greatest weight first; of equal ones the first in alphabetical order."""
    return sorted(weights, key=lambda answer: (-weights[answer], answer))[:MOST]


def write_answers(folder: Path, answers: Iterable[str]) -> None:
    """Put a list beside a model."""
    (folder / FILE).write_text(json.dumps(list(answers), ensure_ascii=False), encoding="utf-8")


def read_answers(path: Path, key: str) -> Sequence[str]:
    """The answers of a list, each once.

    Args:
        path: the file.
        key: the manifest key that names it, for messages.

    Raises:
        UserError: it is no JSON list of texts, or has none.
    """
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{key}: {path} cannot be read as a JSON list ({type(error).__name__})") from None
    if not isinstance(found, list) or not found or not all(isinstance(answer, str) for answer in found):
        raise UserError(f"{key}: {path} is no JSON list of answers, such as BLIP's answer_list.json")
    return list(dict.fromkeys(found))
