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
_PLAIN: Final[tuple[tuple[tuple[Callable[[pa.DataType], bool], ...], str], ...]] = (
    ((types.is_null,), _ANY[0]),
    # which takes a duration for its number, and a decimal of 256 bits for a float
    ((types.is_integer, types.is_floating, types.is_duration, types.is_decimal256), "number"),
    ((types.is_string, types.is_large_string, types.is_string_view), "text"),
    ((types.is_binary, types.is_large_binary, types.is_binary_view, types.is_fixed_size_binary), "bytes"),
    ((types.is_boolean,), "boolean"),
    ((types.is_date,), "date"),
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
    if types.is_map(type_):
        return ("map", _kind(type_.key_type), _kind(type_.item_type))
    if types.is_struct(type_):
        return ("struct", {field.name.casefold(): _kind(field.type) for field in type_})
    if types.is_nested(type_) and hasattr(type_, "value_type"):
        return ("list", _kind(type_.value_type))
    return (next((kind for holds, kind in _PLAIN if any(are(type_) for are in holds)), _exact(type_)),)


def _exact(type_: pa.DataType) -> str:
    """The kind of what goes together with its like alone."""
    if types.is_timestamp(type_):
        return f"timestamp{' of a zone' * (type_.tz is not None)}{' in ns' * (type_.unit == 'ns')}"
    if types.is_time(type_):
        return f"time{' in ns' * (type_.unit == 'ns')}"
    return f"decimal({type_.precision}, {type_.scale})" if types.is_decimal(type_) else str(type_)


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
