"""Which types of one column, from table to table, DuckDB brings together without losing or refusing a value.

It would try more than that: a text becomes a list, a number a date, and the first value that cannot ends the query.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import pyarrow as pa
from pyarrow import types

Kind = tuple[Any, ...]
"""A type as far as DuckDB tells it from others; the kinds of its parts follow its name."""
_ANY: Final[Kind] = ("null",)
_PLAIN: Final[tuple[tuple[Callable[[pa.DataType], bool], Kind], ...]] = (
    (types.is_null, _ANY),
    (types.is_integer, ("number",)),
    (types.is_floating, ("number",)),
    (types.is_string, ("text",)),
    (types.is_large_string, ("text",)),
    (types.is_string_view, ("text",)),
)


def without_common_type(schemas: Sequence[pa.Schema]) -> frozenset[str]:
    """The columns, in lower case, that have types in these tables which do not go together."""
    found: dict[str, Kind | None] = {}
    for schema in schemas:
        for field in schema:
            name = field.name.casefold()
            found[name] = _common(found.get(name, _ANY), _kind(field.type))
    return frozenset(name for name, kind in found.items() if kind is None)


def as_text(sql: str, type_: pa.DataType) -> str:
    """The SQL expression of an expression's text; that of a list or struct is its JSON."""
    return f"CAST(to_json({sql}) AS VARCHAR)" if types.is_nested(type_) else f"CAST({sql} AS VARCHAR)"


def _kind(type_: pa.DataType) -> Kind:
    if types.is_dictionary(type_):
        return _kind(type_.value_type)
    for holds, kind in _PLAIN:
        if holds(type_):
            return kind
    if types.is_map(type_):
        return ("map", _kind(type_.key_type), _kind(type_.item_type))
    if types.is_struct(type_):
        return ("struct", {field.name.casefold(): _kind(field.type) for field in type_})
    if types.is_nested(type_) and hasattr(type_, "value_type"):
        return ("list", _kind(type_.value_type))
    return (str(type_),)


def _common(one: Kind | None, other: Kind | None) -> Kind | None:
    """What both kinds are, None where they do not go together."""
    if one is None or other is None:
        return None
    if _ANY in (one, other):
        return other if one == _ANY else one
    if one[0] != other[0]:
        return None
    if one[0] == "struct":
        fields = {name: _common(one[1].get(name, _ANY), other[1].get(name, _ANY)) for name in one[1] | other[1]}
        return None if None in fields.values() else ("struct", fields)
    parts = [_common(*pair) for pair in zip(one[1:], other[1:], strict=True)]
    return None if None in parts else (one[0], *parts)
