"""JSON lines: see `JsonlSource`."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import pyarrow as pa

from stages.errors import UserError
from stages.urls.batch import Batch, Reader
from stages.urls.damage import Damage
from stages.urls.files import Files, open_text
from stages.urls.json_value import parse
from stages.urls.lines import numbered_lines
from stages.urls.objects import SAMPLE, Object, batches, text_schema, types_of
from stages.urls.spec import JsonlSource


def schema(_: object, files: Files) -> pa.Schema:
    """Return the keys of the first lines.

    Raises:
        UserError: the file is a JSON list.
    """
    return text_schema(_sample(files))


def types(source: JsonlSource, files: Files, columns: Sequence[str]) -> Mapping[str, str]:
    """Return what the first lines have in some columns."""
    return types_of(source, _sample(files), columns)


def read(source: JsonlSource, files: Files, columns: Sequence[str], damage: Damage) -> Iterator[Batch]:
    """Yield one row a line, blank lines left out."""
    names = schema(source, files).names
    with contextlib.closing(_objects(files[0], damage)) as objects:
        yield from batches(source, damage.judged(objects, "line"), names, columns, damage)


def _sample(files: Files) -> list[Object]:
    damage = Damage(files[0])
    with contextlib.closing(_objects(files[0], damage)) as objects:
        return [fields for _, fields in islice(damage.judged(objects, "line"), SAMPLE)]


def _objects(path: str, damage: Damage) -> Generator[tuple[int, Object], None, None]:
    begins = True
    with open_text(path) as file:
        for number, line in numbered_lines(file, damage):
            if not line.strip():
                continue
            value, why = _parsed(line)
            if isinstance(value, dict):
                yield number, value
            elif begins and (line.strip() == "[" or _is_list(value)):
                raise UserError(f"{path} is a JSON list, not lines of JSON; use format: json")
            else:
                damage.left_out(number, why)
            begins = False


def _parsed(line: str) -> tuple[Any, str]:
    """Return a line's value, and what is to be said where it is no object."""
    try:
        return parse(line), "no JSON object"
    except ValueError as error:
        return None, str(error)


def _is_list(value: Any) -> bool:
    """Whether a whole list stands in one line."""
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


READER = Reader(schema, read, types)
