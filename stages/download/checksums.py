"""The sums by which an image is known: of its bytes as they came, in lower-case hex.

sha256 is for everything of our own; md5 is what LAION's lists carry, and the removal lists made from them.
"""

from __future__ import annotations

import hashlib


class Checksums:
    """The sums of content that comes piece by piece."""

    def __init__(self) -> None:
        self._sums = {"sha256": hashlib.sha256(), "md5": hashlib.md5(usedforsecurity=False)}

    def update(self, content: bytes) -> None:
        """Take in the next piece."""
        for found in self._sums.values():
            found.update(content)

    def hex(self) -> dict[str, str]:
        """The sums by their names, which are those of the images table's columns."""
        return {name: found.hexdigest() for name, found in self._sums.items()}


def checksums(content: bytes) -> dict[str, str]:
    """The sums of content that is there."""
    found = Checksums()
    found.update(content)
    return found.hex()
