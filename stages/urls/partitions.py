"""Folders called `name=value`, as Hive, Spark and DuckDB partition a table: each is a column of the files below it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import unquote

import pyarrow as pa

from stages.urls.batch import Batch, batch_of, column_named
from stages.urls.settings import SourceSettings

FOLDER = re.compile(r"([^=]+)=(.*)")
NULL = "__HIVE_DEFAULT_PARTITION__"


def partitions(path: str) -> dict[str, str | None]:
    """Return what the folders on the way to a file say, the uppermost first; all of it is text."""
    folders = path.partition("://")[2] or path
    found = (FOLDER.fullmatch(folder) for folder in folders.split("/")[:-1])
    return {unquote(told[1]): None if told[2] == NULL else unquote(told[2]) for told in found if told}


def asked_partitions(path: str, source: SourceSettings) -> dict[str, str | None]:
    """Return those that a source's `keep` or `where` names: they are part of its content, the others are not."""
    asked = " ".join([*source.keep, source.where or ""]).casefold()
    return {name: value for name, value in partitions(path).items() if name.casefold() in asked}


def with_partitions(batches: Iterator[Batch], values: Mapping[str, str | None], columns: list[str]) -> Iterator[Batch]:
    """Put a file's values beside its own columns, in the order that is asked for."""
    schema = None
    for batch in batches:
        rows = batch.content.num_rows
        arrays = [
            pa.repeat(pa.scalar(values[name], pa.string()), rows) if name in values else batch.own.column(name)
            for name in columns
        ]
        schema = schema or pa.schema([(name, array.type) for name, array in zip(columns, arrays, strict=True)])
        yield Batch(batch.content, batch_of(rows, arrays, schema), batch.numbers)


def beside(schema: pa.Schema, path: str) -> dict[str, str | None]:
    """Return the values of a path whose names are not those of columns: what a file says itself counts."""
    return {name: value for name, value in partitions(path).items() if column_named(schema.names, name) is None}
