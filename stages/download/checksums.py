"""The sums by which an image is known: of its bytes as they came, in lower-case hex.

sha256 is for everything of our own; md5 is what LAION's lists carry, and the removal lists made from them.
"""

from __future__ import annotations

import hashlib
from typing import TypedDict


class Sums(TypedDict):
    """The sums by their names, which are those of the images table's columns."""

    sha256: str
    md5: str


class Checksums:
    """The sums of content that comes piece by piece."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)

    def update(self, content: bytes) -> None:
        """Take in the next piece."""
        self._sha256.update(content)
        self._md5.update(content)

    def hex(self) -> Sums:
        """The sums of what was taken in."""
        return Sums(sha256=self._sha256.hexdigest(), md5=self._md5.hexdigest())


def checksums(content: bytes) -> Sums:
    """The sums of content that is there."""
    found = Checksums()
    found.update(content)
    return found.hex()
