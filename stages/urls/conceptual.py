"""Conceptual Captions 3M and 12M: two columns and a tab, no header, no quoting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from stages.errors import UserError
from stages.urls.batch import Batch, Reader, chunks, text_batch, text_column
from stages.urls.damage import Damage
from stages.urls.delimited import Dialect, Rows
from stages.urls.files import Files, open_text
from stages.urls.lines import ENDS, lines, numbered_lines
from stages.urls.spec import Cc3mSource, Cc12mSource

Conceptual = Cc3mSource | Cc12mSource


def schema(source: Conceptual, files: Files) -> pa.Schema:
    """Return the two columns; reads the first line to see that they come in the format's order."""
    with open_text(files[0]) as file:
        _check_order(source, (next(lines(file), "") or "").rstrip(ENDS).split("\t"), files[0])
    return pa.schema([(name, pa.string()) for name in source.columns])


def read(source: Conceptual, files: Files, columns: Sequence[str], damage: Damage) -> Iterator[Batch]:
    """Yield one row a line."""
    with open_text(files[0]) as file:
        rows = Rows(numbered_lines(file, damage), Dialect("\t", ""), damage)
        rows.width = len(source.columns)
        for some in chunks(_without_header(source, damage.judged(rows, "line"), files[0])):
            numbers = [number for number, _ in some]
            arrays = {
                name: text_column(name, [fields[at] for _, fields in some], numbers, damage)
                for at, name in enumerate(source.columns)
            }
            yield text_batch(arrays, columns, numbers, url=arrays["url"], text=arrays["caption"])


def _without_header(
    source: Conceptual, rows: Iterator[tuple[int, list[str]]], path: str
) -> Iterator[tuple[int, list[str]]]:
    for number, fields in rows:
        if number == 1:
            _check_order(source, fields, path)
            if tuple(fields) == source.columns:  # img2dataset's instructions add one
                continue
        yield number, fields


def _check_order(source: Conceptual, fields: Sequence[str], path: str) -> None:
    """Tell the two releases apart by their first line: their columns come in opposite orders."""
    if len(fields) == 2 and _is_address(fields[source.columns.index("caption")]):
        other = "cc3m" if source.format == "cc12m" else "cc12m"
        raise UserError(f"{path}, line 1: the url stands where {source.format} has the caption; use format: {other}")


def _is_address(field: str) -> bool:
    return field == "url" or field.startswith(("http://", "https://"))


READER = Reader(schema, read)
