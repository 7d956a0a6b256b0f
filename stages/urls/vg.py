"""Visual Genome: region descriptions as released, or a list of image-caption pairs as BLIP and LAVIS use.

Neither says reliably where an image lies: the release is spread over two folders without a rule, and the lists carry
their authors' paths. The name is unique, so an image is looked for by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath

import pyarrow as pa

from stages.errors import UserError
from stages.urls.batch import Batch, Reader
from stages.urls.damage import Damage
from stages.urls.files import Files, filesystem
from stages.urls.human import Image, batches, captions, elements, first_element, has, pairs_by_image
from stages.urls.settings import HumanSource, is_web
from stages.urls.spec import VgSource

FOLDERS = ("", "VG_100K", "VG_100K_2")
REGIONS = pa.schema([("image_id", pa.int64())])
PAIRS = pa.schema([("image", pa.string())])


def schema(source: VgSource, files: Files) -> pa.Schema:
    """Return the columns of the form that the file has.

    Raises:
        UserError: the file names no folders, and `images` is a web address, which cannot be searched.
    """
    if "regions" not in (first_element(files) or {}):
        return PAIRS
    check_searchable(source, files)
    return REGIONS


def check_searchable(source: HumanSource, files: Files) -> None:
    """See that images can be looked for.

    Raises:
        UserError: `images` is a web address.
    """
    if is_web(source.images):
        raise UserError(
            f"{files[0]} names no folders, and {source.images} cannot be searched; set `images` to a folder"
        )


def read(source: VgSource, files: Files, columns: Sequence[str], damage: Damage) -> Iterator[Batch]:
    """Yield one row per image."""
    own = schema(source, files)
    found = places_of(source)
    images = _regions(files[0], found, damage) if own is REGIONS else _pairs(files[0], found, damage)
    yield from batches(source, images, own, columns, damage)


def _regions(path: str, places: Mapping[str, str], damage: Damage) -> Iterator[Image]:
    for number, entry in elements(path, damage):
        if has(entry, number, damage, id=int, regions=list):
            texts = captions(entry["regions"], number, damage, "phrase")
            yield Image(number, place_of(entry["id"], places), texts, {"image_id": entry["id"]})


def _pairs(path: str, places: Mapping[str, str], damage: Damage) -> Iterator[Image]:
    for number, entry in pairs_by_image(path, damage):
        image = entry["image"]
        yield Image(number, places.get(PurePosixPath(image).name, image), entry["caption"], {"image": image})


def place_of(image: int, places: Mapping[str, str]) -> str:
    """Where an image lies; one that is in no folder keeps its row, and the download stage says `missing_file` of it."""
    name = f"{image}.jpg"
    return places.get(name, f"VG_100K/{name}")


def places_of(source: HumanSource) -> dict[str, str]:
    """Where every image lies below the folder of the images, by its name: three listings of 108,000 names in all."""
    if is_web(source.images):
        return {}
    files, inner = filesystem(source.images)
    folders = {folder: f"{inner.rstrip('/')}/{folder}".rstrip("/") for folder in FOLDERS}
    return {
        name: f"{folder}/{name}".lstrip("/")
        for folder, path in folders.items()
        if files.isdir(path)
        for name in (PurePosixPath(found).name for found in files.ls(path, detail=False))
        if name.endswith(".jpg")
    }


READER = Reader(schema, read)
