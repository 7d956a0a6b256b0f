"""CSV files with a header line. They have no types, so every column is text: see `CsvSource`."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice

import pyarrow as pa

from stages.distinct import distinct
from stages.errors import BrokenFileError, UserError
from stages.urls.batch import (
    Batch,
    Reader,
    chunks,
    column_named,
    required_column,
    text_batch,
    text_column,
)
from stages.urls.damage import Damage
from stages.urls.delimited import Dialect, Rows
from stages.urls.files import Files, open_text
from stages.urls.lines import ENDS, numbered_lines
from stages.urls.spec import CsvSource
from stages.urls.text import clean_text
from stages.urls.types import SAMPLE, TEXT, type_of_texts

SEPARATOR = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
"""What Excel understands as a first line, and writes."""


def schema(source: CsvSource, files: Files) -> pa.Schema:
    """Return the columns of the header line."""
    with _opened(source, files, Damage(files[0])) as (names, _):
        return pa.schema([(name, pa.string()) for name in names])


def types(source: CsvSource, files: Files, columns: Sequence[str]) -> Mapping[str, str]:
    """Return what the first rows of some columns look like; url and text are texts, whatever stands there."""
    with _opened(source, files, Damage(files[0])) as (names, rows):
        sample = [fields for _, fields in islice(rows, SAMPLE)]
    texts = {column_named(names, name) for name in (*source.url_names, *source.text_names)}
    return {
        name: TEXT if name in texts else type_of_texts(fields[at] for fields in sample)
        for name, at in _places(names, columns).items()
    }


def read(source: CsvSource, files: Files, columns: Sequence[str], damage: Damage) -> Iterator[Batch]:
    """Yield the rows in the file's order."""
    with _opened(source, files, damage) as (names, rows):
        url, text = (
            required_column(names, wanted, key=f"{key}:", place=files[0])
            for key, wanted in (("url", source.url_names), ("text", source.text_names))
        )
        places = _places(names, [url, text, *columns])
        for some in chunks(damage.judged(rows, "line")):
            numbers = [number for number, _ in some]
            arrays = {
                name: text_column(name, [fields[at] or None for _, fields in some], numbers, damage)
                for name, at in places.items()
            }
            yield text_batch(arrays, columns, numbers, url=arrays[url], text=arrays[text])


@contextlib.contextmanager
def _opened(source: CsvSource, files: Files, damage: Damage) -> Iterator[tuple[list[str], Rows]]:
    """Open the file: its columns' names, and what comes after them."""
    with open_text(files[0]) as file:
        dialect, lines = _dialect(source, numbered_lines(file, damage))
        rows = Rows(lines, dialect, damage)
        header = next(rows, None)
        if damage.words:
            raise BrokenFileError(f"{damage.words}; its header line cannot be read: is `delimiter` right?")
        if header is None:
            raise BrokenFileError(f"{files[0]} has no header line with the columns' names")
        if not dialect.quote and all(len(name) > 1 and name[0] == name[-1] == '"' for name in header[1]):
            raise UserError(f"{files[0]} has its fields in quotes, which mean nothing in TSV; set quote: '\"'")
        names = distinct([clean_text(name) or f"column{at}" for at, name in enumerate(header[1])])
        rows.width = len(names)
        url = next(filter(None, (column_named(names, wanted) for wanted in source.url_names)), None)
        rows.address = None if url is None else names.index(url)
        yield names, rows


def _dialect(source: CsvSource, lines: Iterator[tuple[int, str]]) -> tuple[Dialect, Iterator[tuple[int, str]]]:
    """Return how fields are told apart, and the lines without the one that only says so."""
    first = next(lines, (1, ""))
    told = SEPARATOR.fullmatch(first[1].rstrip(ENDS))
    if told is None:
        return Dialect(source.delimiter, source.quote_for(source.delimiter)), chain([first], lines)
    delimiter = source.delimiter if "delimiter" in source.model_fields_set else told[1]
    return Dialect(delimiter, source.quote_for(delimiter)), lines


def _places(names: list[str], columns: Sequence[str]) -> dict[str, int]:
    return {name: names.index(name) for name in columns}


READER = Reader(schema, read, types)
