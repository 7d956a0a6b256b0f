"""One JSON value of a list: parsing it, and making the text of a column of it."""

from __future__ import annotations

import json
import math
from typing import Any, Final

from stages.io.json_text import to_json
from stages.urls.damage import Damage

DECODER: Final = json.JSONDecoder(strict=False, parse_constant=lambda _: None)
"""Reads NaN and Infinity, which Python's writers write and JSON does not have, as null, and control characters as they
stand."""


def parse(text: str) -> Any:
    """Read a JSON text.

    Raises:
        ValueError: it is none; what is wrong, in words that quote nothing of it.
    """
    try:
        return DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(whats_wrong(error)) from error


def whats_wrong(error: ValueError | RecursionError) -> str:
    """Return why the decoder refused a text, in words."""
    if isinstance(error, json.JSONDecodeError):
        return f"broken JSON: {error.msg}"
    return "JSON nested too deeply" if isinstance(error, RecursionError) else "a number of too many digits"


def as_text(value: Any) -> str | None:
    """Return a value as the text of a column: a string as it is, null and what is no number as None, else its JSON."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float) and not math.isfinite(value):  # as 1e999 is read
        return None
    try:
        return to_json(value)
    except RecursionError:
        return None


def plain_text(value: Any, column: str, number: int, damage: Damage) -> str | None:
    """Return what stands where a url or a caption is to stand; a list, an object, true and false are neither.

    Args:
        value: the JSON value.
        column: its name.
        number: the entry's, from 1.
        damage: is told of what does not fit.
    """
    if isinstance(value, bool | list | dict):
        kinds = {bool: "true or false", list: "a list", dict: "an object"}
        damage.emptied(number, f"{column!r} is {kinds[type(value)]}")
        return None
    return as_text(value)
