"""DuckDB's types for the columns of formats that have none, so that `where` compares numbers as numbers.

What is stored stays text. As in DuckDB's own reader of CSV the first rows decide; a later value of another kind counts
as null.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

SAMPLE = 20_480
"""Rows whose values are looked at."""
UNKNOWN: Final = '"NULL"'
"""The type of a column without a value, which fits every other."""
TEXT: Final = "VARCHAR"

PATTERNS: Final[dict[str, str]] = {
    "BOOLEAN": r"(?i:true|false)",
    "BIGINT": r"[+-]?[0-9]{1,18}",
    "DOUBLE": r"[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?|(?i:[+-]?inf(inity)?|nan)",
    "DATE": r"[0-9]{4}-[0-9]{2}-[0-9]{2}",
    "TIMESTAMP": r"[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]+)?)?)?",
}
"""How a value of each type is written, for Python and for DuckDB; a column has the first type that all of them fit."""
_COMPILED = {kind: re.compile(pattern) for kind, pattern in PATTERNS.items()}


def type_of_texts(values: Iterable[str | None]) -> str:
    """Return the type of what is written in a column; empty texts are null."""
    told = {value for value in values if value}
    if not told:
        return UNKNOWN
    return next((kind for kind, form in _COMPILED.items() if all(map(form.fullmatch, told))), TEXT)


def type_of_values(values: Iterable[Any]) -> str:
    """Return the type of a column of JSON values: a text stays one, though it be of digits."""
    told = [value for value in values if value is not None]
    kinds = {type(value) for value in told}
    if not kinds:
        return UNKNOWN
    if kinds == {bool}:
        return "BOOLEAN"
    if not kinds <= {int, float}:
        return TEXT
    return "BIGINT" if kinds == {int} and max(map(abs, told)) < 10**18 else "DOUBLE"
