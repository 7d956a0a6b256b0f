"""Rows of delimited text: every line one, or with quotes, in which a field may hold delimiters and line breaks.

Quotes are those of RFC 4180: a field that begins with one ends with one, and a doubled one stands for itself. Where
they do not balance, most readers go on to the next quote, however many rows lie between. Here the line that opened the
quote is left out, and what follows is read as if that line had not been there. A quote is taken for unbalanced where
text follows the closing one, where nothing closes it, and where it would take along what looks like a row of the list.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from stages.urls.damage import Damage
from stages.urls.lines import ENDS, is_blank

LONGEST = 1 << 20
"""Characters that a row with line breaks in it may have."""
ADDRESS = re.compile(r"\w+://\S+")

Numbered = tuple[int, str]
"""The number of a line, and the line with its end."""


@dataclass(frozen=True)
class Dialect:
    """How fields are told apart."""

    delimiter: str
    quote: str
    """`""` where quotes mean nothing, as in TSV: then every line is a row."""


class _DamagedError(Exception):
    """Why a line is no row, in words."""


class Rows:
    """The rows of a file, one after the other.

    Args:
        lines: the file's lines.
        dialect: how fields are told apart.
        damage: is told which lines are left out.
    """

    def __init__(self, lines: Iterator[Numbered], dialect: Dialect, damage: Damage) -> None:
        self._lines = lines
        self._dialect = dialect
        self._damage = damage
        self._again: deque[Numbered] = deque()
        self.width: int | None = None
        """How many fields a row has, once that is known; a row of another number is left out."""
        self.address: int | None = None
        """Which field holds the url, once that is known."""

    def __iter__(self) -> Rows:
        return self

    def __next__(self) -> tuple[int, list[str]]:
        """Return the next row that is sound: the number of its first line, its fields."""
        while (numbered := self._next()) is not None:
            number, line = numbered
            if is_blank(line):
                continue
            try:
                return number, self._fields(line)
            except _DamagedError as error:
                self._damage.left_out(number, str(error))
        raise StopIteration

    def _next(self) -> Numbered | None:
        return self._again.popleft() if self._again else next(self._lines, None)

    def _fields(self, line: str) -> list[str]:
        """Split a row, which may go on in the lines after it."""
        if not self._dialect.quote or self._dialect.quote not in line:
            return self._counted(line.rstrip(ENDS).split(self._dialect.delimiter))
        taken: list[Numbered] = []
        try:
            return self._counted(list(self._quoted(line, taken)))
        except _DamagedError:
            self._again.extendleft(reversed(taken))  # it costs the line that it began in, no more
            raise

    def _counted(self, fields: list[str]) -> list[str]:
        if self.width not in {None, len(fields)}:
            raise _DamagedError(f"{len(fields)} field{'s' * (len(fields) != 1)} in place of {self.width}")
        return fields

    def _quoted(self, line: str, taken: list[Numbered]) -> Iterator[str]:
        """Yield the fields of a row with quotes; `taken` is given the lines that it goes on in."""
        delimiter, quote = self._dialect.delimiter, self._dialect.quote
        at = before = 0
        while True:
            if line.startswith(quote, at):
                value, line, at = self._inside(line, at + 1, before, taken)
                yield value
                rest = line[at:].rstrip(ENDS)
                if not rest:
                    return
                if not rest.startswith(delimiter):
                    raise _DamagedError("text after a closing quote")
                at += 1
            elif (end := line.find(delimiter, at)) >= 0:
                yield line[at:end]
                at = end + 1
            else:
                yield line[at:].rstrip(ENDS)
                return
            before += 1

    def _inside(self, line: str, at: int, before: int, taken: list[Numbered]) -> tuple[str, str, int]:
        """Return what stands in quotes, the line in which it ends, and the place after the closing quote there.

        Args:
            line: where the quote opens.
            at: the place after it.
            before: how many fields of the row come before it.
            taken: is given the lines that are read on.
        """
        pieces, room = [], LONGEST
        is_address = before == self.address
        while (end := self._closing(line, at)) < 0:
            if is_address:
                raise _DamagedError("an opening quote before a url that nothing closes in its line")
            if self._is_row(line[at:], before, closed=False):
                raise _DamagedError("an opening quote that would take whole rows along")
            pieces.append(line[at:])
            room -= len(pieces[-1])
            following = self._next() if room > 0 else None
            if following is None:
                raise _DamagedError("an opening quote that nothing closes")
            taken.append(following)
            line, at, before = following[1], 0, 0
        if pieces and self._is_row(line[:end], 0, closed=True):
            raise _DamagedError("an opening quote that would take whole rows along")
        pieces.append(line[at:end])
        return "".join(pieces).replace(self._dialect.quote * 2, self._dialect.quote), line, end + 1

    def _closing(self, line: str, at: int) -> int:
        """Return where the next quote stands that is not doubled, -1 if nowhere in the line."""
        quote = self._dialect.quote
        while (at := line.find(quote, at)) >= 0 and line.startswith(quote, at + 1):
            at += 2
        return at

    def _is_row(self, inside: str, before: int, *, closed: bool) -> bool:
        """Whether what a line has in quotes looks like a row, or the rest of one.

        Args:
            inside: the line, or what of it stands in quotes.
            before: how many fields of the line come before that.
            closed: whether the quotes end in the line, so that more fields may follow.
        """
        if self.address is None or self.width is None or self.address < before:
            return False
        fields = inside.rstrip(ENDS).split(self._dialect.delimiter)
        number = before + len(fields)
        is_whole = number > min(self.address + 1, self.width - 1) if closed else number == self.width
        return is_whole and bool(ADDRESS.fullmatch(fields[self.address - before].strip(self._dialect.quote)))
