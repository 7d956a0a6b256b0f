"""What COCO and Visual Genome share: images with several captions, which become one row each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from stages.errors import UserError
from stages.urls.batch import Batch, chunks, content, own_columns
from stages.urls.files import Files, open_text
from stages.urls.json_stream import JsonStream
from stages.urls.spec import HumanSource, is_web

IMAGES_AT_ONCE = 2_048
"""Images in a batch: fewer than rows of a web source, for Visual Genome has fifty captions each."""


@dataclass(frozen=True)
class Image:
    """An image and everything that people wrote about it."""

    file: str
    """Its path below the source's `images`."""
    captions: Sequence[str]
    own: Mapping[str, Any]


def batches(source: HumanSource, images: Iterable[Image], schema: pa.Schema, columns: Sequence[str]) -> Iterator[Batch]:
    """Yield one row per image, with its captions stripped and the empty ones dropped."""
    column = "url" if is_web(source.images) else "file"
    base = f"{source.images.rstrip('/')}/" if is_web(source.images) else ""
    for some in chunks(images, IMAGES_AT_ONCE):
        texts = [[text for caption in image.captions if (text := caption.strip())] for image in some]
        arrays = {
            column: pa.array([base + image.file for image in some], pa.string()),
            "text": pa.array([captions[0] if captions else None for captions in texts], pa.string()),
            "texts": pa.array(texts, pa.list_(pa.string())),
        }
        yield Batch(content(len(some), **arrays), own_columns(schema, columns, [image.own for image in some]))


def pairs_by_image(path: str) -> Iterator[dict[str, Any]]:
    """Yield {image, caption, ...} once per image, its `caption` the list of all captions in the file's order.

    The captions of an image need not follow one another, so the file is held in memory: 150 MB for the largest one
    that was published (Visual Genome, 821,000 captions).

    Raises:
        UserError: an entry lacks its image or caption.
    """
    images: dict[str, dict[str, Any]] = {}
    for number, pair in enumerate(elements(path), start=1):
        image, caption = field(pair, "image", path, number), field(pair, "caption", path, number)
        entry = images.setdefault(image, {**pair, "caption": []})
        entry["caption"].extend([caption] if isinstance(caption, str) else caption)
    yield from images.values()


def elements(path: str, key: str | None = None) -> Iterator[Any]:
    """Yield the elements of a JSON array: the whole file, or what stands under a key of it."""
    with open_text(path) as file:
        stream = JsonStream(file, path)
        yield from stream.array() if key is None else stream.array_of(key)


def first_element(files: Files) -> dict[str, Any] | None:
    """Return the first element of a JSON array, None if the file is no array of objects."""
    with open_text(files[0]) as file:
        stream = JsonStream(file, files[0])
        element = next(stream.array(), None) if stream.peek() == "[" else None
        return element if isinstance(element, dict) else None


def field(entry: Any, name: str, path: str, number: int) -> Any:
    """Return a field that every entry must have.

    Raises:
        UserError: it is not there.
    """
    if not isinstance(entry, dict) or name not in entry:
        raise UserError(f"{path}, entry {number} has no {name!r}; is this the format that the manifest says?")
    return entry[name]
