"""What COCO and Visual Genome share: images with several captions or questions, which become one row each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from types import UnionType
from typing import Any

import pyarrow as pa

from stages.urls.batch import CONTENT, Batch, chunks, content, own_columns, text_column
from stages.urls.damage import Damage
from stages.urls.files import Files, open_text
from stages.urls.json_stream import JsonStream, objects_in
from stages.urls.json_value import as_text
from stages.urls.settings import HumanSource, is_web
from stages.urls.text import text_array

IMAGES_AT_ONCE = 2_048
"""Images in a batch: fewer than rows of a web source, for Visual Genome has fifty captions each."""
SAMPLE = 100
"""Elements of which the first object tells a file's form."""

Numbered = tuple[int, dict[str, Any]]
"""An entry of a file, and its number there, from 1."""


@dataclass(frozen=True)
class Image:
    """An image and everything that people wrote about it."""

    number: int
    """Which entry of the file it is, from 1."""
    file: str
    """Its path below the source's `images`."""
    captions: Sequence[str]
    own: Mapping[str, Any]
    questions: Sequence[Mapping[str, Any]] | None = None
    """What people were asked about it, as `tables.ASKED` has it; None in a list of captions."""


def batches(
    source: HumanSource, images: Iterable[Image], schema: pa.Schema, columns: Sequence[str], damage: Damage
) -> Iterator[Batch]:
    """Yield one row per image, with its captions stripped and the empty ones dropped."""
    column = "url" if is_web(source.images) else "file"
    base = f"{source.images.rstrip('/')}/" if is_web(source.images) else ""
    for some in chunks(images, IMAGES_AT_ONCE):
        numbers = [image.number for image in some]
        texts = [[text for caption in image.captions if (text := caption.strip())] for image in some]
        clean = _clean(texts, numbers, damage)
        arrays = {
            column: text_column("image", [base + image.file for image in some], numbers, damage),
            "text": pa.array([captions[0] if captions else None for captions in clean], pa.string()),
            "texts": pa.array(clean, pa.list_(pa.string())),
            "questions": pa.array([image.questions for image in some], CONTENT.field("questions").type),
        }
        own = own_columns(schema, columns, [image.own for image in some], numbers, damage)
        yield Batch(content(len(some), **arrays), own, numbers)


def _clean(texts: list[list[str]], numbers: Sequence[int], damage: Damage) -> list[list[str]]:
    flat, damaged = text_array([text for captions in texts for text in captions])
    if not damaged:
        return texts
    of = [number for number, captions in zip(numbers, texts, strict=True) for _ in captions]
    for at in damaged:
        damage.replaced(of[at], "caption")
    clean = iter(flat.to_pylist())
    return [list(islice(clean, len(captions))) for captions in texts]


def pairs_by_image(path: str, damage: Damage) -> Iterator[Numbered]:
    """Yield {image, caption, ...} once per image, its `caption` the list of all captions in the file's order.

    The captions of an image need not follow one another, so the file is held in memory: 150 MB for the largest one
    that was published (Visual Genome, 821,000 captions).
    """
    images: dict[str, Numbered] = {}
    for number, pair in elements(path, damage):
        if not has(pair, number, damage, image=str, caption=object):
            continue
        _, entry = images.setdefault(pair["image"], (number, {**pair, "caption": []}))
        entry["caption"].extend(captions(pair["caption"], number, damage))
    yield from images.values()


def elements(path: str, damage: Damage, key: str | None = None) -> Iterator[Numbered]:
    """Yield the objects of a JSON array: the whole file, or what stands under a key of it."""
    with open_text(path) as file:
        stream = JsonStream(file, path)
        if key is None:
            yield from objects_in(stream.whole_array(), damage)
        else:
            yield from objects_in(stream.array_of(key), damage, key.removesuffix("s"))


def first_element(files: Files, key: str | None = None) -> dict[str, Any] | None:
    """Return the first object of a JSON array; None if there is none, or the file is no array."""
    with open_text(files[0]) as file:
        stream = JsonStream(file, files[0])
        if (stream.peek() == "[") != (key is None):
            return None
        array = stream.array() if key is None else stream.array_of(key)
        return next((value for value in islice(array, SAMPLE) if isinstance(value, dict)), None)


def has(entry: Mapping[str, Any], number: int, damage: Damage, **fields: type | UnionType) -> bool:
    """Whether an entry has the fields that it must have, of these types; it is left out otherwise."""
    for name, kind in fields.items():
        if entry.get(name) is None:
            damage.left_out(number, f"no {name!r}")
            return False
        if not isinstance(entry[name], kind) or isinstance(entry[name], bool):
            damage.left_out(number, f"{name!r} is of another type")
            return False
    return True


def captions(value: Any, number: int, damage: Damage, field: str | None = None) -> list[str]:
    """Return the captions that stand in an entry: one text, or a list of them; what is no text is told and left out.

    Args:
        value: what stands there.
        number: the entry's.
        damage: is told.
        field: which field of each in the list is the text; None where they are texts themselves.
    """
    found = []
    for item in value if isinstance(value, list) else [value]:
        text = item if field is None else item.get(field) if isinstance(item, dict) else None
        if isinstance(text, int | float) and not isinstance(text, bool):
            text = as_text(text)
        if isinstance(text, str):
            found.append(text)
        else:
            damage.emptied(number, "a caption that is no text")
    return found
