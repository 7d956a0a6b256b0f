"""Rows out of JSON objects, in lines or in a list. Keys and types may change from one object to the next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from stages.urls.batch import Batch, chunks, required_column, text_batch, text_column
from stages.urls.damage import Damage
from stages.urls.json_value import as_text, plain_text
from stages.urls.settings import NamedColumns
from stages.urls.text import clean_text
from stages.urls.types import TEXT, type_of_values

SAMPLE = 1_000
"""Objects whose keys are taken for the file's columns."""

Object = Mapping[str, Any]


def text_schema(objects: Iterable[Object]) -> pa.Schema:
    """Return all the keys of some objects as text columns, in the order of their first appearance."""
    names = dict.fromkeys(key for fields in objects for key in fields)
    return pa.schema([(name, pa.string()) for name in names if name == clean_text(name)])


def types_of(source: NamedColumns, objects: Sequence[Object], columns: Sequence[str]) -> dict[str, str]:
    """Return DuckDB's types of some columns; url and text are texts, whatever stands there."""
    texts = {name.casefold() for name in (*source.url_names, *source.text_names)}
    return {
        name: TEXT if name.casefold() in texts else type_of_values(fields.get(name) for fields in objects)
        for name in columns
    }


def batches(
    source: NamedColumns,
    objects: Iterable[tuple[int, Object]],
    names: Sequence[str],
    columns: Sequence[str],
    damage: Damage,
) -> Iterator[Batch]:
    """Yield a row for each object.

    Args:
        source: names the columns of url and text.
        objects: with their numbers in the file.
        names: the columns there are.
        columns: the own columns that are asked for.
        damage: is told of what does not fit.

    Raises:
        UserError: there is no such column.
    """
    url = required_column(names, source.url_names, key="url:", place=damage.place)
    text = required_column(names, source.text_names, key="text:", place=damage.place)
    for some in chunks(objects):
        arrays = columns_of(some, [url, text], columns, damage)
        yield text_batch(arrays, columns, [number for number, _ in some], url=arrays[url], text=arrays[text])


def columns_of(
    objects: Sequence[tuple[int, Object]], plain: Sequence[str], columns: Sequence[str], damage: Damage
) -> dict[str, pa.Array]:
    """Build text columns of numbered objects.

    Args:
        objects: the rows.
        plain: the columns that hold urls or texts; what is no text there is null.
        columns: the others.
        damage: is told of what does not fit.
    """
    numbers = [number for number, _ in objects]
    arrays = {}
    for name in dict.fromkeys([*plain, *columns]):
        if name in plain:
            values = [plain_text(fields.get(name), name, number, damage) for number, fields in objects]
        else:
            values = [as_text(fields.get(name)) for _, fields in objects]
        arrays[name] = text_column(name, values, numbers, damage)
    return arrays
