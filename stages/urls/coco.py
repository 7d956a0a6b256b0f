"""COCO captions: Karpathy's dataset_coco.json, or a list of image-caption pairs as BLIP and LAVIS use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from stages.errors import UserError
from stages.urls.batch import Batch, Reader
from stages.urls.files import Files
from stages.urls.human import Image, batches, elements, field, first_element, pairs_by_image
from stages.urls.spec import CocoSource

KARPATHY = pa.schema(
    [("filepath", pa.string()), ("filename", pa.string()), ("cocoid", pa.int64()), ("split", pa.string())]
)
PAIRS = pa.schema([("image", pa.string()), ("image_id", pa.string())])


def schema(source: CocoSource, files: Files) -> pa.Schema:
    """Return the columns of the form that the file has.

    Raises:
        UserError: `splits` is asked of a file that is one split.
    """
    if first_element(files) is None:
        return KARPATHY
    if "splits" in source.model_fields_set:
        raise UserError(f"{files[0]} is a list of one split; leave `splits` out and name the files wanted in `path`")
    return PAIRS


def read(source: CocoSource, files: Files, columns: Sequence[str]) -> Iterator[Batch]:
    """Yield one row per image."""
    own = schema(source, files)
    images = _karpathy(source, files[0]) if own is KARPATHY else _pairs(files[0])
    yield from batches(source, images, own, columns)


def _karpathy(source: CocoSource, path: str) -> Iterator[Image]:
    for number, entry in enumerate(elements(path, "images"), start=1):
        if field(entry, "split", path, number) not in source.splits:
            continue
        folder, name = entry.get("filepath"), field(entry, "filename", path, number)
        captions = [field(sentence, "raw", path, number) for sentence in field(entry, "sentences", path, number)]
        yield Image(f"{folder}/{name}" if folder else name, captions, entry)


def _pairs(path: str) -> Iterator[Image]:
    for entry in pairs_by_image(path):
        identifier = entry.get("image_id")
        own = {"image": entry["image"], "image_id": None if identifier is None else str(identifier)}
        yield Image(entry["image"], entry["caption"], own)


READER = Reader(schema, read)
