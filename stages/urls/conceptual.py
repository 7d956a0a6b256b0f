"""Conceptual Captions 3M and 12M: two columns and a tab, no header, no quoting.

Lines are split by hand: to a CSV reader a lone quote in a caption would begin a field that ends thousands of lines on.
A line that has not exactly one tab is an error, not a row to skip: no released file has one, so the file is another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from stages.errors import UserError
from stages.urls.batch import Batch, Reader, batch_of, chunks, content
from stages.urls.files import Files, open_text
from stages.urls.spec import Cc3mSource, Cc12mSource

Conceptual = Cc3mSource | Cc12mSource


def schema(source: Conceptual, files: Files) -> pa.Schema:
    """Return the two columns; reads the first line to see that they come in the format's order."""
    with open_text(files[0]) as file:
        _check_order(source, file.readline(), files[0])
    return pa.schema([(name, pa.string()) for name in source.columns])


def read(source: Conceptual, files: Files, columns: Sequence[str]) -> Iterator[Batch]:
    """Yield one row a line."""
    for rows in chunks(_rows(source, files[0])):
        pair = zip(source.columns, zip(*rows, strict=True), strict=True)
        arrays = {name: pa.array(values, pa.string()) for name, values in pair}
        own = batch_of(
            len(rows), [arrays[name] for name in columns], pa.schema([(name, pa.string()) for name in columns])
        )
        yield Batch(content(len(rows), url=arrays["url"], text=arrays["caption"]), own)


def _rows(source: Conceptual, path: str) -> Iterator[list[str]]:
    header = "\t".join(source.columns)
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            fields = line.rstrip("\r\n").split("\t")
            if len(fields) != 2:
                raise UserError(
                    f"{path}, line {number}: {len(fields) - 1} tabs where {source.format} has one "
                    f"({' TAB '.join(source.columns)}); correct or remove the line"
                )
            if number == 1:
                _check_order(source, line, path)
                if line.rstrip("\r\n") == header:  # img2dataset's instructions add one
                    continue
            yield fields


def _check_order(source: Conceptual, line: str, path: str) -> None:
    """Tell the two releases apart by their first line: their columns come in opposite orders."""
    fields = line.rstrip("\r\n").split("\t")
    if len(fields) == 2 and _is_address(fields[source.columns.index("caption")]):
        other = "cc3m" if source.format == "cc12m" else "cc12m"
        raise UserError(f"{path}, line 1: the url stands where {source.format} has the caption; use format: {other}")


def _is_address(field: str) -> bool:
    return field == "url" or field.startswith(("http://", "https://"))


READER = Reader(schema, read)
