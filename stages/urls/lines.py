"""The lines of a text file, numbered, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from stages.urls.damage import Damage

LONGEST = 1 << 26
"""Characters that a line may have. It bounds the memory that a file without line breaks can take."""
TOO_LONG = f"a line of more than {LONGEST:,} characters"
ENDS = "\r\n"


def lines(file: IO[str]) -> Iterator[str | None]:
    """Yield every line with its end; None in the place of one that is too long."""
    while line := file.readline(LONGEST):
        if len(line) == LONGEST and line[-1] not in ENDS:
            _pass_over(file)
            yield None
        else:
            yield line


def numbered_lines(file: IO[str], damage: Damage) -> Iterator[tuple[int, str]]:
    """Yield (number, line with its end) of all lines; one that is too long is left out."""
    for number, line in enumerate(lines(file), start=1):
        if line is None:
            damage.left_out(number, TOO_LONG)
        else:
            yield number, line


def is_blank(line: str) -> bool:
    """Whether a line holds nothing, so that it is no entry."""
    return not line.strip(f" {ENDS}")


def _pass_over(file: IO[str]) -> None:
    while (more := file.readline(LONGEST)) and more[-1] not in ENDS:
        pass
