"""CSV files with a header line. They have no types, so every column is text: see `CsvSource`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import pyarrow as pa
from pyarrow import csv

from stages.urls.batch import Batch, Reader, content, required_column
from stages.urls.files import Files, filesystem
from stages.urls.spec import CsvSource

BLOCK_BYTES = 1 << 20
"""Bytes parsed at a time; no row may be longer. Of 4 MiB, Arrow's allocator held on to 390 MiB in all."""


def schema(source: CsvSource, files: Files) -> pa.Schema:
    """Return the columns of the header line."""
    with _open(source, files, {}) as reader:
        return pa.schema([(name, pa.string()) for name in reader.schema.names])


def read(source: CsvSource, files: Files, columns: Sequence[str]) -> Iterator[Batch]:
    """Yield the rows in the file's order."""
    own = schema(source, files)
    url = required_column(own.names, source.url_names, key="url:", place=files[0])
    text = required_column(own.names, source.text_names, key="text:", place=files[0])
    wanted = {name: pa.string() for name in (url, text, *columns)}
    with _open(source, files, wanted) as reader:
        for rows in reader:
            yield Batch(content(rows.num_rows, url=rows.column(url), text=rows.column(text)), rows.select(columns))


@contextlib.contextmanager
def _open(source: CsvSource, files: Files, wanted: dict[str, pa.DataType]) -> Iterator[csv.CSVStreamingReader]:
    """Open the file for some columns, or for all of them where none is given."""
    system, inner = filesystem(files[0])
    with (
        system.open(inner, "rb", compression="infer") as file,
        csv.open_csv(
            file,
            read_options=csv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False),
            parse_options=csv.ParseOptions(delimiter=source.delimiter, newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                column_types=wanted, include_columns=list(wanted), null_values=[""], strings_can_be_null=True
            ),
        ) as reader,
    ):
        yield reader


READER = Reader(schema, read)
