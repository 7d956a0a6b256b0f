"""A JSON list of objects: BLIP's `[{"url": ..., "caption": ...}]`, what `export --to json` writes, RedCaps."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc

from stages.errors import BrokenFileError, UserError
from stages.urls.batch import Batch, Reader, chunks, column_named, required_column, text_batch
from stages.urls.damage import Damage
from stages.urls.files import Files, open_text
from stages.urls.json_stream import JsonStream, objects_in
from stages.urls.objects import SAMPLE, Object, columns_of, text_schema, types_of
from stages.urls.settings import is_web
from stages.urls.spec import JsonSource

IMAGE = "image"
LIST = "annotations"
"""Under which key the list stands where the file is an object, as RedCaps' are."""
LINES = "lines of JSON objects are format: jsonl"


def schema(source: JsonSource, files: Files) -> pa.Schema:
    """Return the keys of the first entries.

    Raises:
        UserError: none of them says where an image is, or only below a folder that `images` does not name.
    """
    found = text_schema(_sample(files))
    if not found.names:
        raise BrokenFileError(f"{files[0]} has no entries; take it out of `path`")
    key = "url:" if column_named(found.names, IMAGE) is None else "url:; say by `images:` where its images lie"
    required_column(found.names, source.url_names, key=key, place=files[0])
    return found


def types(source: JsonSource, files: Files, columns: Sequence[str]) -> Mapping[str, str]:
    """Return what the first entries have in some columns."""
    return types_of(source, _sample(files), columns)


def read(source: JsonSource, files: Files, columns: Sequence[str], damage: Damage) -> Iterator[Batch]:
    """Yield one row an entry."""
    names = schema(source, files).names
    text = required_column(names, source.text_names, key="text:", place=files[0])
    image = column_named(names, IMAGE) if source.images is not None else None
    url = column_named(names, source.url)
    plain = [name for name in (url, image, text) if name is not None]
    with contextlib.closing(_objects(files[0], damage)) as objects:
        for some in chunks(objects):
            arrays = columns_of(some, plain, columns, damage)
            places = _places(source, arrays.get(url or ""), arrays.get(image or ""))
            yield text_batch(arrays, columns, [number for number, _ in some], text=arrays[text], **places)


def _places(source: JsonSource, url: pa.Array | None, image: pa.Array | None) -> dict[str, pa.Array]:
    """Return where the images are: at their urls, and those without one below the source's `images`."""
    if image is None:
        return {} if url is None else {"url": url}
    url = pa.nulls(len(image), pa.string()) if url is None else url
    if source.images is not None and is_web(source.images):
        return {"url": pc.coalesce(url, pc.binary_join_element_wise(f"{source.images.rstrip('/')}/", image, ""))}
    return {"url": url, "file": pc.if_else(pc.is_valid(url), pa.scalar(None, pa.string()), image)}


def _sample(files: Files) -> list[Object]:
    with contextlib.closing(_objects(files[0], Damage(files[0]))) as objects:
        return [fields for _, fields in islice(objects, SAMPLE)]


def _objects(path: str, damage: Damage) -> Generator[tuple[int, Object], None, None]:
    with open_text(path) as file:
        stream = JsonStream(file, path)
        if stream.peek() not in {"[", "{"}:
            raise UserError(f"{path} is no JSON list; {LINES}")
        array = stream.whole_array() if stream.peek() == "[" else stream.array_of(LIST, hint=LINES)
        yield from objects_in(array, damage)


READER = Reader(schema, read, types)
