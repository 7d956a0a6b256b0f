"""What a tar holds: its images, and what its texts say of them. One pass, which holds no image."""

from __future__ import annotations

import io
import posixpath
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from stages.io import tars
from stages.urls.damage import Damage
from stages.urls.files import open_tar
from stages.urls.json_value import as_text, parse, plain_text
from stages.urls.samples import IMAGES, Name, name_of, stems_of_texts
from stages.urls.unpack import as_text as decoded

TEXTS: Final = ("json", "txt")
PLAIN: Final = ("url", "caption")
"""The fields that are an image's address and its text."""
LONGEST: Final = 1 << 24
"""Bytes that a text may have."""
Fields = Mapping[str, str | None]
"""What is said of an image, by the columns wanted."""


def images_of(tar: str, damage: Damage, texts: Texts | None = None) -> dict[str, int]:
    """Return the images of a tar, and each one's number among the members.

    Args:
        tar: where it lies.
        damage: is told of every file that is neither an image nor a text, or that is there twice.
        texts: takes the texts; None where nobody asks for them.

    Raises:
        tarfile.ReadError: the tar is cut off or damaged.
    """
    damage.counting("member", judged=False)
    images: dict[str, int] = {}
    with open_tar(tar) as archive:
        for number, member in enumerate(tars.members(archive), start=1):
            name = name_of(member.name)
            if member.isdir() or (texts is None and name.ending in TEXTS):
                continue
            if why := _why_not(member, name, images):
                damage.left_out(number, f"{member.name!a} {why}")
            elif name.ending in IMAGES:
                images[member.name] = number
            elif texts is not None:
                texts.take(number, name, member, archive)
    return images


def _why_not(member: tarfile.TarInfo, name: Name, images: Iterable[str]) -> str:
    """Say why a member is of no use; "" where it is."""
    if not tars.is_file(member):
        return "is a link or a device, which is not followed"
    if posixpath.basename(member.name).startswith("._"):
        return "is what a Mac keeps beside a file"
    if member.name in images:
        return "is there twice; the first one is taken"
    if name.ending in TEXTS and member.size > LONGEST:
        return f"is a text of {member.size:,} bytes"
    return "" if name.ending in IMAGES or name.ending in TEXTS else "is neither an image nor a .txt or .json"


def is_json(member: tarfile.TarInfo) -> bool:
    """Whether a member is a .json, and no endless one."""
    return tars.is_file(member) and name_of(member.name).ending == "json" and member.size <= LONGEST


def text_of(archive: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    """Return what a text says, in whatever encoding its first bytes tell."""
    return decoded(io.BufferedReader(io.BytesIO(tars.read(archive, member)))).read()


class Texts:
    """The .json and .txt members of a tar, of which the columns wanted are kept.

    Args:
        columns: the own columns wanted.
        damage: is told of texts that cannot be read, are there twice, or have no image.
    """

    def __init__(self, columns: Sequence[str], damage: Damage) -> None:
        self._columns = columns
        self._damage = damage
        self._numbers: dict[Name, int] = {}
        self._fields: dict[Name, Fields] = {}

    def take(self, number: int, name: Name, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
        """Take in a member."""
        if name in self._numbers:
            self._damage.left_out(number, f"{member.name!a} is there twice; the first one is taken")
            return
        self._numbers[name] = number
        text = text_of(archive, member)
        if name.ending == "txt":
            self._fields[name] = {"caption": text}
            return
        try:
            said = fields_of(parse(text))
        except ValueError as error:
            self._damage.emptied(number, f"{member.name!a}: {error}")
        else:
            plain = {column: plain_text(said.get(column), column, number, self._damage) for column in PLAIN}
            self._fields[name] = {**{column: as_text(said.get(column)) for column in self._columns}, **plain}

    def of(self, images: Mapping[str, int]) -> Iterator[tuple[str, int, Fields]]:
        """Yield (image, its number, what is said of it) in their order, then tell what was left over."""
        names = {image: name_of(image) for image in images}
        stems = stems_of_texts(names.values(), [name.stem for name in self._numbers])
        for image, number in images.items():
            if names[image] in stems:
                yield image, number, self._said(stems[names[image]])
            else:
                self._damage.left_out(number, f"{image!a} is an image beside the one that the text is of")
        used = set(stems.values())
        for name, number in self._numbers.items():
            if name.stem not in used:
                self._damage.left_out(number, f"'{ascii(name.stem)[1:-1]}.{name.ending}' is a text without an image")

    def _said(self, stem: str | None) -> Fields:
        """Return what both texts of an image say; the .json's caption counts before the .txt's."""
        if stem is None:
            return {}
        json, txt = (self._fields.get(Name(stem, ending), {}) for ending in TEXTS)
        return {**txt, **{column: text for column, text in json.items() if text is not None or not txt.get(column)}}


def fields_of(said: Any) -> dict[str, Any]:
    """Return the fields of a JSON text. A list, or an object's `captions`, are ranked captions: the first is the best.

    Raises:
        ValueError: it says nothing of an image; in words.
    """
    if isinstance(said, dict):
        fields = said
    elif isinstance(said, list) and _first_text(said) is not None:
        fields = {"captions": said}
    elif isinstance(said, str):
        fields = {"caption": said}
    else:
        raise ValueError("neither an object nor captions")
    caption = fields.get("caption")
    if isinstance(caption, list | dict):
        caption = _first_text(caption)
    return {**fields, "caption": _first_text(fields.get("captions")) if caption is None else caption}


def _first_text(said: Any) -> str | None:
    """Return the first caption: of texts, of objects that have one, or of a list of either."""
    each = said if isinstance(said, list) else [said]
    texts = (inner.get("caption") if isinstance(inner, dict) else inner for inner in each)
    return next((text for text in texts if isinstance(text, str)), None)
