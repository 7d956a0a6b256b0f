"""The sums by which an image is known: of its bytes as they came, in lower-case hex.

sha256 is for everything of our own; md5 is what LAION's lists carry, and the removal lists made from them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TypedDict


class Sums(TypedDict):
    """The sums by their names, which are those of the images table's columns."""

    sha256: str
    md5: str


def checksums(content: Iterable[bytes]) -> Sums:
    """The sums of content that is given in pieces."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    for piece in content:
        sha256.update(piece)
        md5.update(piece)
    return Sums(sha256=sha256.hexdigest(), md5=md5.hexdigest())
