"""Images that are there already, with their texts: tars made by img2dataset or by anybody, and its other folders.

Nothing is downloaded again: `file` is "<tar>/<member>" below the folder of the tars.
"""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Iterator, Sequence

import pyarrow as pa

from stages import tars
from stages.urls import img2dataset
from stages.urls.batch import Batch, Reader, batch_of, chunks, content, text_column
from stages.urls.damage import Damage
from stages.urls.files import Files, open_tar
from stages.urls.json_value import parse
from stages.urls.members import Texts, fields_of, images_of, is_text, text_of
from stages.urls.objects import text_schema
from stages.urls.samples import name_of
from stages.urls.spec import WebDatasetSource


def schema(_: object, files: Files) -> pa.Schema:
    """Return the columns of the table that is there, or the fields of the tar's first .json."""
    return _fields(files[0]) if _is_tar_alone(files) else img2dataset.schema(files)


def read(_: WebDatasetSource, files: Files, columns: Sequence[str], damage: Damage) -> Iterator[Batch]:
    """Yield one row for every image."""
    return (_read_tar if _is_tar_alone(files) else img2dataset.read)(files, columns, damage)


def _is_tar_alone(files: Files) -> bool:
    return len(files) == 1 and tars.is_tar(files[0])


def _fields(tar: str) -> pa.Schema:
    """Return the fields of the first .json that says something, as text; there is always a caption."""
    with open_tar(tar) as archive:
        for member in tars.members(archive):
            if name_of(member.name).ending == "json" and is_text(member):
                with contextlib.suppress(ValueError):  # it costs its own sample, and is told there
                    return text_schema([{"caption": None}, fields_of(parse(text_of(archive, member)))])
    return text_schema([{"caption": None}])


def _read_tar(files: Files, columns: Sequence[str], damage: Damage) -> Iterator[Batch]:
    texts = Texts(columns, damage)
    images = images_of(files[0], damage, texts)
    base = posixpath.basename(files[0])
    own = pa.schema([(name, pa.string()) for name in columns])
    for some in chunks(texts.of(images)):
        numbers = [number for _, number, _ in some]
        said = {
            name: text_column(name, [fields.get(name) for *_, fields in some], numbers, damage)
            for name in dict.fromkeys(["url", "caption", *columns])
        }
        file = text_column("file", [f"{base}/{image}" for image, *_ in some], numbers, damage)
        row = content(len(some), url=said["url"], text=said["caption"], file=file)
        yield Batch(row, batch_of(len(some), [said[name] for name in columns], own), numbers)


READER = Reader(schema, read)
