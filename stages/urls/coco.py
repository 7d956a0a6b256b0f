"""COCO captions: Karpathy's dataset_coco.json, captions_*.json as released, or pairs as BLIP and LAVIS list them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from stages.errors import UserError
from stages.urls.batch import Batch, Reader
from stages.urls.damage import Damage
from stages.urls.files import Files
from stages.urls.human import Image, batches, captions, elements, first_element, has, pairs_by_image
from stages.urls.json_value import as_text
from stages.urls.spec import CocoSource

KARPATHY = pa.schema(
    [("filepath", pa.string()), ("filename", pa.string()), ("cocoid", pa.int64()), ("split", pa.string())]
)
RELEASED = pa.schema(
    [
        ("id", pa.int64()),
        ("file_name", pa.string()),
        ("coco_url", pa.string()),
        ("flickr_url", pa.string()),
        ("width", pa.int64()),
        ("height", pa.int64()),
        ("license", pa.int64()),
        ("date_captured", pa.string()),
    ]
)
PAIRS = pa.schema([("image", pa.string()), ("image_id", pa.string())])


def schema(source: CocoSource, files: Files) -> pa.Schema:
    """Return the columns of the form that the file has.

    Raises:
        UserError: `splits` is asked of a file that is one split.
    """
    found = _form(files)
    if found is not KARPATHY and "splits" in source.model_fields_set:
        raise UserError(f"{files[0]} is one split; leave `splits` out and name the files wanted in `path`")
    return found


def read(source: CocoSource, files: Files, columns: Sequence[str], damage: Damage) -> Iterator[Batch]:
    """Yield one row per image."""
    own = schema(source, files)
    if own is KARPATHY:
        images = _karpathy(source, files[0], damage)
    else:
        images = read_released(files[0], damage) if own is RELEASED else _pairs(files[0], damage)
    yield from batches(source, images, own, columns, damage)


def _form(files: Files) -> pa.Schema:
    if first_element(files) is not None:
        return PAIRS
    return RELEASED if "file_name" in (first_element(files, "images") or {}) else KARPATHY


def _karpathy(source: CocoSource, path: str, damage: Damage) -> Iterator[Image]:
    for number, entry in elements(path, damage, "images"):
        if not has(entry, number, damage, split=str):
            continue
        if entry["split"] in source.splits and has(entry, number, damage, filename=str, sentences=list):
            folder, name = entry.get("filepath"), entry["filename"]
            texts = captions(entry["sentences"], number, damage, "raw")
            yield Image(number, f"{folder}/{name}" if folder else name, texts, entry)


def read_released(path: str, damage: Damage) -> Iterator[Image]:
    """Yield the images in their order.

    The annotations stand in any order, before the images or after them, so their captions are held in memory: 100 MB
    for the 590,000 of captions_train2017.json.
    """
    texts: dict[Any, list[str]] = {}
    first: dict[Any, int] = {}
    for number, entry in elements(path, damage, "annotations"):
        if has(entry, number, damage, image_id=int | str, caption=object):
            texts.setdefault(entry["image_id"], []).extend(captions(entry["caption"], number, damage))
            first.setdefault(entry["image_id"], number)
    known = set()
    for number, entry in elements(path, damage, "images"):
        if has(entry, number, damage, id=int | str, file_name=str):
            known.add(entry["id"])
            yield Image(number, entry["file_name"], texts.get(entry["id"], []), entry)
    for image in sorted(texts.keys() - known, key=first.__getitem__):
        for _ in texts[image]:
            damage.left_out(first[image], "an annotation of an image that is not in the list")


def _pairs(path: str, damage: Damage) -> Iterator[Image]:
    for number, entry in pairs_by_image(path, damage):
        own = {"image": entry["image"], "image_id": as_text(entry.get("image_id"))}
        yield Image(number, entry["image"], entry["caption"], own)


READER = Reader(schema, read)
