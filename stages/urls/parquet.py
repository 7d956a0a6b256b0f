"""Parquet tables: LAION's and any other.

Column chunks are read through a small buffer, not whole: the row groups that Spark wrote LAION's parts with are larger
than a worker's memory should be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from stages.errors import UserError
from stages.urls.batch import BATCH_ROWS, Batch, Reader, content, required_column
from stages.urls.files import Files, open_binary
from stages.urls.spec import LaionSource, ParquetSource

BUFFER_BYTES = 1 << 22
"""Bytes read at a time of each column."""


def schema(_: object, files: Files) -> pa.Schema:
    """Return the file's columns, from its footer.

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
    return found


def read(source: LaionSource | ParquetSource, files: Files, columns: Sequence[str]) -> Iterator[Batch]:
    """Yield the rows in the file's order."""
    names = schema(source, files).names
    url = required_column(names, source.url_names, key="url:", place=files[0])
    text = required_column(names, source.text_names, key="text:", place=files[0])
    for rows in batches(files[0], [url, text, *columns]):
        texts = {"url": as_text(rows, url, files[0]), "text": as_text(rows, text, files[0])}
        yield Batch(content(rows.num_rows, **texts), rows.select(columns))


def batches(path: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield some columns of a Parquet file in its order."""
    with open_binary(path) as file, pq.ParquetFile(file, pre_buffer=False, buffer_size=BUFFER_BYTES) as table:
        wanted = list(dict.fromkeys(columns))
        yield from table.iter_batches(BATCH_ROWS, columns=wanted, use_threads=False)


def as_text(rows: pa.RecordBatch, column: str, place: str) -> pa.Array:
    """Return a column as plain strings.

    Raises:
        UserError: it holds something else.
    """
    array = rows.column(column)
    kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    if not (pa.types.is_null(kind) or pa.types.is_binary(kind) or _is_string(kind)):
        raise UserError(f"{place}: column {column!r} holds {kind}, not text; name another one")
    return array.cast(pa.string())


def _is_string(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


READER = Reader(schema, read)
