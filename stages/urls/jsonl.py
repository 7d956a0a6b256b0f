"""JSON lines. Keys and types may change from line to line, so every column is text: see `JsonlSource`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import pyarrow as pa

from stages.errors import UserError
from stages.urls.batch import Batch, Reader, chunks, content, own_columns, required_column
from stages.urls.files import Files, open_text
from stages.urls.spec import JsonlSource

SAMPLE_LINES = 1_000
"""Lines whose keys are taken for the file's columns."""


def schema(_: object, files: Files) -> pa.Schema:
    """Return the keys of the first lines."""
    return text_schema(islice(_objects(files[0]), SAMPLE_LINES))


def read(source: JsonlSource, files: Files, columns: Sequence[str]) -> Iterator[Batch]:
    """Yield one row a line, blank lines left out."""
    own = schema(source, files)
    url = required_column(own.names, source.url_names, key="url:", place=files[0])
    text = required_column(own.names, source.text_names, key="text:", place=files[0])
    wanted = list(dict.fromkeys([url, text, *columns]))
    for objects in chunks(_objects(files[0])):
        rows = own_columns(own, wanted, [as_texts(fields, wanted) for fields in objects])
        yield Batch(content(rows.num_rows, url=rows.column(url), text=rows.column(text)), rows.select(columns))


def text_schema(objects: Iterable[Mapping[str, Any]]) -> pa.Schema:
    """Return all the keys of some objects as text columns, in the order of their first appearance."""
    return pa.schema([(name, pa.string()) for name in dict.fromkeys(key for fields in objects for key in fields)])


def as_texts(fields: Mapping[str, Any], wanted: Iterable[str]) -> dict[str, str | None]:
    """Return some values of an object as text: strings as they are, null as None, all else as JSON."""
    values = ((name, fields.get(name)) for name in wanted)
    return {
        name: value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in values
    }


def _objects(path: str) -> Iterator[dict[str, Any]]:
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                fields = json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(f"{path}, line {number}: broken JSON: {error.msg}; correct or remove it") from error
            if not isinstance(fields, dict):
                raise UserError(f"{path}, line {number}: no JSON object; every line must be one {{...}}")
            yield fields


READER = Reader(schema, read)
