"""Which files of a tar belong together.

WebDataset's rule is that the files of a sample follow one another and share what stands before the first dot of their
names. Tars are made otherwise, too: `tar cf 0.tar folder/` takes a folder's files in any order,
`photo v2.0 (clean).jpg` has a dot in its name, `stereo.left.jpg` and `stereo.right.jpg` share `stereo.txt`. Here order
means nothing, and every image is a sample of its own. Its text is the one of its own name; else the one of a shorter
name that ends before one of its dots; else the only one of its WebDataset key, where no image of that key has a text of
its own name.

An image without a text of its own name is left out where its name only adds to that of an image which has one
(`7.mask.png` beside `7.jpg` and `7.txt`): it is no picture of what the text says.
"""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

_JPEG, _TIFF, _BMP, _HEIF = ("jpg", "jpeg", "jpe", "jfif"), ("tif", "tiff"), ("bmp", "dib"), ("heic", "heif", "avif")
_NETPBM, _OTHER = ("ppm", "pgm", "pbm", "pnm"), ("png", "apng", "webp", "gif", "jxl", "jp2", "tga", "ico", "svg")
IMAGES: Final = frozenset({*_JPEG, *_TIFF, *_BMP, *_HEIF, *_NETPBM, *_OTHER})
"""The endings of images. What cannot be decoded is told of its row; what is no image is told of its tar."""


class Name(NamedTuple):
    """A file's name in a tar."""

    stem: str
    """All but the ending, its folders included; `./a` and `a` are one."""
    ending: str
    """What follows the last dot, in lower case; "" where there is none."""

    @property
    def key(self) -> str:
        """What WebDataset takes for the sample's key."""
        folder, base = posixpath.split(self.stem)
        return posixpath.join(folder, base.partition(".")[0])

    @property
    def shorter(self) -> Iterator[str]:
        """The stems that end before one of the dots, the longest first."""
        folder, base = posixpath.split(self.stem)
        while "." in base:
            base = base.rpartition(".")[0]
            yield posixpath.join(folder, base)


def name_of(member: str) -> Name:
    """Return the parts of a member's name."""
    folder, base = posixpath.split(posixpath.normpath(member))
    stem, dot, ending = base.rpartition(".")
    return Name(posixpath.join(folder, stem if dot else base), ending.lower() if dot else "")


def stems_of_texts(images: Iterable[Name], texts: Iterable[str]) -> dict[Name, str | None]:
    """Return the stem of every image's text, None where it has none; without the images that are left out.

    Args:
        images: the names of all images.
        texts: the stems of all texts.
    """
    names, known = list(images), set(texts)
    own = {name.stem for name in names} & known
    keys = {name.key for name in names if name.stem in own}
    free: dict[str, list[str]] = defaultdict(list)
    for stem in known - own:
        free[Name(stem, "").key].append(stem)
    found: dict[Name, str | None] = {}
    for name in names:
        if name.stem in own:
            found[name] = name.stem
        elif not any(stem in own for stem in name.shorter):
            others = [] if name.key in keys else free[name.key]
            found[name] = next(
                (stem for stem in name.shorter if stem in known), others[0] if len(others) == 1 else None
            )
    return found
