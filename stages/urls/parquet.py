"""Parquet tables: LAION's and any other.

Column chunks are read through a small buffer, not whole: the row groups that Spark wrote LAION's parts with are larger
than a worker's memory should be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from stages.distinct import distinct
from stages.errors import UserError
from stages.urls.batch import BATCH_ROWS, Batch, Reader, batch_of, content, required_column
from stages.urls.damage import Damage
from stages.urls.files import Files, open_binary
from stages.urls.spec import LaionSource, ParquetSource
from stages.urls.text import clean_array, clean_column, is_string

BUFFER_BYTES = 1 << 22
"""Bytes read at a time of each column."""


def schema(_: object, files: Files) -> pa.Schema:
    """Return the file's columns, from its footer; of two of one name the second has a number.

    Raises:
        UserError: it is a table that a stage wrote, not a list of images.
    """
    with open_binary(files[0]) as file:
        found = pq.read_schema(file)
    written_by = (found.metadata or {}).get(b"stage")
    if written_by is not None and b"capfilt_version" in found.metadata:
        raise UserError(
            f"{files[0]} is what the stage '{written_by.decode()}' made of another list; name that list in its place"
        )
    return pa.schema([field.with_name(name) for field, name in zip(found, distinct(found.names), strict=True)])


def read(source: LaionSource | ParquetSource, files: Files, columns: Sequence[str], damage: Damage) -> Iterator[Batch]:
    """Yield the rows in the file's order."""
    names = schema(source, files).names
    url = required_column(names, source.url_names, key="url:", place=files[0])
    text = required_column(names, source.text_names, key="text:", place=files[0])
    damage.counting("row")
    first = 1
    for rows in batches(files[0], [url, text, *columns]):
        numbers = range(first, first := first + rows.num_rows)
        texts = {"url": as_text(rows, url, numbers, damage), "text": as_text(rows, text, numbers, damage)}
        yield Batch(content(rows.num_rows, **texts), storable(rows.select(columns), numbers, damage), numbers)


def batches(path: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield some columns of a Parquet file, named as `schema` names them, in its order."""
    with open_binary(path) as file, pq.ParquetFile(file, pre_buffer=False, buffer_size=BUFFER_BYTES) as table:
        there = table.schema_arrow.names
        names = distinct(there)
        stored = {there[names.index(column)] for column in columns}
        for rows in table.iter_batches(BATCH_ROWS, columns=list(stored), use_threads=False):
            yield rows.rename_columns(_renamed(rows.schema.names, there, names)).select(list(dict.fromkeys(columns)))


def _renamed(read: Sequence[str], there: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return what columns that were read are called: all of one stored name are read, in the file's order."""
    called = {stored: iter([new for old, new in zip(there, names, strict=True) if old == stored]) for stored in read}
    return [next(called[stored]) for stored in read]


def as_text(rows: pa.RecordBatch, column: str, numbers: Sequence[int], damage: Damage) -> pa.Array:
    """Return a column as clean strings.

    Raises:
        UserError: it holds something else.
    """
    array = rows.column(column)
    kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    if pa.types.is_null(kind):
        return array.cast(pa.string())
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or is_string(kind)):
        raise UserError(f"{damage.place}: column {column!r} holds {kind}, not text; name another one")
    clean, damaged = clean_array(array.cast(kind))
    for at in damaged:
        damage.replaced(numbers[at], column)
    return clean


def storable(rows: pa.RecordBatch, numbers: Sequence[int], damage: Damage) -> pa.RecordBatch:
    """Return own columns of any types with their strings cleaned."""
    arrays = []
    for name, array in zip(rows.schema.names, rows.columns, strict=True):
        clean, damaged = clean_column(array)
        arrays.append(clean)
        for at in damaged:
            damage.replaced(numbers[at], name)
    return batch_of(rows.num_rows, arrays, rows.schema)


READER = Reader(schema, read)
