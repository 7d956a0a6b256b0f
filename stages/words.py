"""What an error says, in one line."""

from __future__ import annotations

import re
from typing import Final

MOST: Final = 300
"""Characters of a row's error."""


def one_line(said: BaseException | str) -> str:
    """All of it as a short line that is the same in every run: for a table.

    No line breaks nor other control characters, no memory addresses; an error's kind where it says nothing.
    """
    plain = "".join(letter if letter.isprintable() else " " for letter in str(said))
    words = re.sub(r" at 0x[0-9a-fA-F]+", "", " ".join(plain.split()))[:MOST]
    return words or (type(said).__name__ if isinstance(said, BaseException) else "")


def first_line(error: BaseException) -> str:
    """The first line that says something, as it stands: for a person; an error's kind where there is none."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
