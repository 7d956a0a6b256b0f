"""Images that are there already, with their texts: tars made by img2dataset or by anybody, and its other folders.

Nothing is downloaded again: `file` is "<tar>/<member>" below the folder of the tars.
"""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

import pyarrow as pa

from stages.io import tars
from stages.urls import img2dataset
from stages.urls.batch import Batch, Reader, chunks, text_batch, text_column
from stages.urls.damage import Damage
from stages.urls.files import Files, open_tar
from stages.urls.json_value import parse
from stages.urls.members import PLAIN, Texts, fields_of, images_of, is_json, text_of
from stages.urls.objects import Object, text_schema
from stages.urls.spec import WebDatasetSource
from stages.urls.types import TEXT, type_of_values

SAMPLE: Final = 100
"""Texts of a tar whose fields are taken for its columns: the images between them have to be passed over."""


def schema(_: object, files: Files) -> pa.Schema:
    """Return the columns of the table that is there, or the fields of the tar's first .json members."""
    if not _is_tar_alone(files):
        return img2dataset.schema(files)
    return text_schema([{"caption": None}, *_first_fields(files[0])])


def types(_: object, files: Files, columns: Sequence[str]) -> dict[str, str]:
    """Return what the fields of a tar's .json members are for DuckDB; a table has types of its own."""
    if not _is_tar_alone(files):
        return {}
    first = list(_first_fields(files[0]))
    return {name: TEXT if name in PLAIN else type_of_values(fields.get(name) for fields in first) for name in columns}


def read(_: WebDatasetSource, files: Files, columns: Sequence[str], damage: Damage) -> Iterator[Batch]:
    """Yield one row for every image."""
    return (_read_tar if _is_tar_alone(files) else img2dataset.read)(files, columns, damage)


def _is_tar_alone(files: Files) -> bool:
    return len(files) == 1 and tars.is_tar(files[0])


def _first_fields(tar: str) -> Iterator[Object]:
    with open_tar(tar) as archive:
        texts = (member for member in tars.members(archive) if is_json(member))
        for member in islice(texts, SAMPLE):
            with contextlib.suppress(ValueError):  # it costs its own sample, and is told there
                yield fields_of(parse(text_of(archive, member)))


def _read_tar(files: Files, columns: Sequence[str], damage: Damage) -> Iterator[Batch]:
    texts = Texts(columns, damage)
    images = images_of(files[0], damage, texts)
    base = posixpath.basename(files[0])
    for some in chunks(texts.of(images)):
        numbers = [number for _, number, _ in some]
        said = {
            name: text_column(name, [fields.get(name) for *_, fields in some], numbers, damage)
            for name in dict.fromkeys([*PLAIN, *columns])
        }
        file = text_column("file", [f"{base}/{image}" for image, *_ in some], numbers, damage)
        yield text_batch(said, columns, numbers, url=said["url"], text=said["caption"], file=file)


READER = Reader(schema, read, types)
