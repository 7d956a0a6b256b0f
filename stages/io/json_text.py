"""JSON that every reader of it can read: NaN and Infinity, for which it has no word, are null, and dates are text."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any


def to_json(value: Any, *, indent: int | None = None, default: Callable[[Any], str] = str) -> str:
    """A value as JSON text, characters beyond ASCII as they are.

    Args:
        value: of dictionaries, lists and whatever stands in them.
        indent: blanks of a level; None puts all on one line.
        default: the text of what is none of JSON's types.

    Raises:
        RecursionError: it is nested too deeply.
    """
    try:
        return json.dumps(value, indent=indent, default=default, ensure_ascii=False, allow_nan=False)
    except (ValueError, TypeError):  # a number that is none, or a key that is no text
        return json.dumps(_sayable(value), indent=indent, default=default, ensure_ascii=False, allow_nan=False)


def _sayable(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else str(key): _sayable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_sayable(inner) for inner in value]
    return value
