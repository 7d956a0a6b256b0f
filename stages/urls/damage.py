"""What of a list is not as its format says: counted while it is read, so that nothing is left out without a word.

A damaged entry costs itself. Where most entries are damaged it is the format that is wrong, and the file fails.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

from stages.errors import BrokenFileError

Kind = Literal["left_out", "emptied", "replaced"]

WORDS: Final[dict[Kind, str]] = {
    "left_out": "left out",
    "emptied": "values taken for none, which do not fit",
    "replaced": "texts with U+FFFD in place of what is no text",
}
"""An entry that is not in the result; one of whose values is null instead; one of whose texts had to be cleaned."""
ENOUGH = 1_000
"""Entries after which it is plain whether most of them are damaged."""

Entry = TypeVar("Entry")


@dataclass
class Tally:
    """How often something was seen."""

    count: int = 0
    first: str = ""
    """Where it was first seen, and what was wrong there."""


class Damage:
    """Gathers what is wrong with one part while a reader reads it.

    Args:
        place: the file, for messages.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self._tallies: dict[Kind, Tally] = {kind: Tally() for kind in WORDS}
        self.counting("line")

    def numbered(self, entries: Iterable[Entry], unit: str) -> Iterator[tuple[int, Entry]]:
        """Yield a file's entries, numbered from 1; see `judged`."""
        return self.judged(enumerate(entries, start=1), unit)

    def judged(self, entries: Iterable[tuple[int, Entry]], unit: str) -> Iterator[tuple[int, Entry]]:
        """Pass on a file's numbered entries; whoever yields or takes them says which are left out.

        Args:
            entries: in the file's order; numbers that are missing count as entries too.
            unit: what one is called in messages, such as `line`.

        Raises:
            BrokenFileError: more than half of them were left out, of the first thousand or of all.
        """
        self.counting(unit)
        for number, entry in entries:
            yield number, entry
            self._reach(number)
        self._judge()

    def counting(self, unit: str, *, judged: bool = True) -> None:
        """Begin to number entries anew, which messages call `unit`.

        Args:
            unit: such as `line`.
            judged: whether the file fails where most of them are left out.
        """
        self._unit, self._last, self._is_judged = unit, 0, not judged
        self._before = self._tallies["left_out"].count

    def left_out(self, number: int, why: str) -> None:
        """An entry is not in the result.

        Args:
            number: which one, from 1.
            why: in words that quote nothing of it.
        """
        self._count("left_out", number, why)
        self._reach(number)

    def emptied(self, number: int, why: str) -> None:
        """A value of an entry does not fit and is null in the result."""
        self._count("emptied", number, why)

    def replaced(self, number: int, column: str) -> None:
        """A text of an entry had to be cleaned (`stages.urls.text`)."""
        self._count("replaced", number, f"in {column!r}")

    @property
    def counts(self) -> dict[str, int]:
        """How often each thing was seen that was."""
        return {kind: tally.count for kind, tally in self._tallies.items() if tally.count}

    @property
    def words(self) -> str:
        """All of it in one line that begins with the file; "" where nothing is wrong."""
        told = [
            f"{WORDS[kind]}: {tally.count:,} (first {tally.first})"
            for kind, tally in self._tallies.items()
            if tally.count
        ]
        return f"{self.place}: {'; '.join(told)}" if told else ""

    def _count(self, kind: Kind, number: int, why: str) -> None:
        tally = self._tallies[kind]
        if not tally.count:
            tally.first = f"{self._unit} {number:,}: {why}"
        tally.count += 1

    def _reach(self, number: int) -> None:
        self._last = max(self._last, number)
        if number >= ENOUGH and not self._is_judged:
            self._judge()

    def _judge(self) -> None:
        self._is_judged = True
        tally = self._tallies["left_out"]
        if 2 * (left_out := tally.count - self._before) > self._last:
            raise BrokenFileError(
                f"{self.place}, {tally.first}; {left_out:,} of {self._last:,} are wrong: is this the format that the "
                "manifest says?"
            )
