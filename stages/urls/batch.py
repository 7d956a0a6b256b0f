"""What every reader yields: the rows' URLs and texts, and beside them the source's own columns that were asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import pyarrow as pa

from stages.errors import UserError
from stages.tables import URLS
from stages.urls.damage import Damage
from stages.urls.files import Files
from stages.urls.json_value import as_text
from stages.urls.text import text_array

BATCH_ROWS = 16_384
"""Rows read at a time: enough to make the cost per batch vanish, about 4 MB of URLs and texts."""

CONTENT = pa.schema([URLS.field(name) for name in ("url", "text", "texts", "file", "questions")])
"""The columns of the URL table that a reader fills; key and source follow from the part."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Batch:
    """Some consecutive rows of a source."""

    content: pa.RecordBatch
    """Columns as in `CONTENT`."""
    own: pa.RecordBatch
    """The source's own columns that were asked for, under their own names."""
    numbers: Sequence[int]
    """Which line, entry or row of the file each row was, from 1."""


@dataclass(frozen=True)
class Reader:
    """How one format is read."""

    schema: Callable[[Any, Files], pa.Schema]
    """(source, files) -> the source's own columns; reads the beginning only."""
    read: Callable[[Any, Files, Sequence[str], Damage], Iterator[Batch]]
    """(source, files, own columns wanted, who is told of damage) -> every row in order, in memory that does not grow
    with their number."""
    types: Callable[[Any, Files, Sequence[str]], Mapping[str, str]] = lambda *_: {}
    """(source, files, own columns) -> of those that are text because the format has no types, DuckDB's type of what
    they say; reads the beginning only."""


def content(rows: int, **columns: pa.Array) -> pa.RecordBatch:
    """Build the content columns from those that a format has; the others are null."""
    arrays = [columns.get(field.name) for field in CONTENT]
    filled = [
        pa.nulls(rows, field.type) if array is None else array for field, array in zip(CONTENT, arrays, strict=True)
    ]
    return pa.RecordBatch.from_arrays(filled, schema=CONTENT)


def text_column(name: str, values: Sequence[str | None], numbers: Sequence[int], damage: Damage) -> pa.Array:
    """Build a column of clean texts.

    Args:
        name: the column's, for messages.
        values: the texts as they were read.
        numbers: which entry of the file each is of.
        damage: is told which were not clean.
    """
    array, damaged = text_array(values)
    for at in damaged:
        damage.replaced(numbers[at], name)
    return array


def own_columns(
    schema: pa.Schema,
    columns: Sequence[str],
    records: Sequence[Mapping[str, Any]],
    numbers: Sequence[int],
    damage: Damage,
) -> pa.RecordBatch:
    """Build the own columns wanted out of records; what a record has not, or has of another type, is null there."""
    wanted = pa.schema([schema.field(name) for name in columns])
    arrays = []
    for field in wanted:
        values = [record.get(field.name) for record in records]
        if field.type == pa.int64():
            whole = [_whole(field.name, *numbered, damage) for numbered in zip(values, numbers, strict=True)]
            arrays.append(pa.array(whole, pa.int64()))
        else:
            arrays.append(text_column(field.name, list(map(as_text, values)), numbers, damage))
    return batch_of(len(records), arrays, wanted)


def _whole(name: str, value: Any, number: int, damage: Damage) -> int | None:
    if value is None or (type(value) is int and abs(value) < 1 << 63):
        return value
    damage.emptied(number, f"{name!r} is no whole number")
    return None


def batch_of(rows: int, arrays: Sequence[pa.Array], schema: pa.Schema) -> pa.RecordBatch:
    """Build a record batch that knows its length even where it has no column."""
    if arrays:
        return pa.RecordBatch.from_arrays(arrays, schema=schema)
    return pa.RecordBatch.from_struct_array(pa.array([{}] * rows, pa.struct([])))


def text_batch(
    arrays: Mapping[str, pa.Array], columns: Sequence[str], numbers: Sequence[int], **filled: pa.Array
) -> Batch:
    """Build a batch whose own columns are all texts.

    Args:
        arrays: columns of texts by name, the own ones among them.
        columns: the own ones that are asked for.
        numbers: which entry of the file each row was.
        filled: the content columns that the format has.
    """
    own = pa.schema([(name, pa.string()) for name in columns])
    rows = batch_of(len(numbers), [arrays[name] for name in columns], own)
    return Batch(content(len(numbers), **filled), rows, numbers)


def chunks(items: Iterable[Item], size: int = BATCH_ROWS) -> Iterator[list[Item]]:
    """Cut an iterable into lists of `size`; the last may be shorter."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def column_named(names: Sequence[str], wanted: str) -> str | None:
    """Return the column of that name: the exact one, else the first that differs in case alone, else None."""
    if wanted in names:
        return wanted
    return next((name for name in names if name.casefold() == wanted.casefold()), None)


def required_column(names: Sequence[str], candidates: Sequence[str], *, key: str, place: str) -> str:
    """Return the first of the candidate columns that is there.

    Args:
        names: the columns there are.
        candidates: the names that will do, the likeliest first.
        key: the manifest key that asks for the column, for the message.
        place: the file, for the message.

    Raises:
        UserError: none of them is there.
    """
    for candidate in candidates:
        if (found := column_named(names, candidate)) is not None:
            return found
    raise UserError(f"{place} has no column {candidates[0]!r} ({key}); it has {', '.join(names)}")
