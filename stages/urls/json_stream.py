"""JSON files that are too large to load: the elements of one array, one after the other.

The standard library's decoder does the work; this keeps just enough text for it to see one element whole. An element
that is no JSON costs itself as long as it can be told where it ends (`stages.urls.json_skip`).

Why not ijson (3.6 with its C backend): an error ends its stream and says nowhere at which byte, so that what stands
behind a damaged entry is lost. To it NaN, control characters, integers beyond 64 bits and 1e999 are such errors; half
an emoji becomes "?" without a word; and an entry of 80 kB that is nested 40,000 deep takes 3.9 GB (here it is left out,
at 15 MB). On 200 MB it is no clear gain either: 1.4 s instead of 2.2 s for BLIP's pairs, 2.3 s instead of 1.7 s for
Visual Genome's regions, both in 20 MB of memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from json import JSONDecodeError
from typing import IO, Any

from stages.errors import BrokenFileError, UserError
from stages.urls.damage import Damage
from stages.urls.json_skip import last_element, next_element
from stages.urls.json_value import DECODER, whats_wrong

CHUNK = 1 << 20
"""Characters read at a time."""
UNFINISHED = re.compile(r"[-+.eE0-9]*\Z")
"""After a value, at the end of what was read: were the value a number, it could go on (`1` may become `1.5e3`)."""
LONGEST = 1 << 26
"""Characters that one element may have. It bounds the memory that a broken file can take."""
TOKEN = 12
"""Characters of the longest thing that cannot be read in part: a pair of escapes."""


@dataclass(frozen=True)
class Broken:
    """What stands in the place of an element that is no JSON."""

    why: str


class JsonStream:
    """A cursor in a JSON text.

    Args:
        file: the text.
        place: its name, for messages.
    """

    def __init__(self, file: IO[str], place: str) -> None:
        self._file = file
        self._place = place
        self._text = ""
        self._at = 0
        self._line = 1

    def peek(self) -> str:
        """Return the next character that is no white space, "" at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def value(self) -> Any:
        """Read one value whole.

        Raises:
            BrokenFileError: there is none.
        """
        try:
            return self._value()
        except (ValueError, RecursionError) as error:
            raise self._mistake(error) from error

    def whole_array(self) -> Iterator[Any]:
        """Read an array that is all of the text.

        Raises:
            BrokenFileError: something follows it.
        """
        yield from self._array(None)  # what is taken for an element wrongly would not end where the text does
        if self.peek():
            raise self._mistake(JSONDecodeError("something follows the list", self._text, self._at))

    def array(self) -> Iterator[Any]:
        """Read an array, element by element; a `Broken` for each that is none. A comma may be missing."""
        yield from self._array(frozenset())

    def _array(self, keys: frozenset[str] | None) -> Iterator[Any]:
        self._expect("[")
        while self.peek() not in ("]", ""):
            value = self._element(keys)
            yield value
            if isinstance(value, dict):
                keys = frozenset(value)
            if self.peek() == ",":
                self._at += 1
        self._expect("]")

    def array_of(self, key: str, hint: str = "is this the format that the manifest says?") -> Iterator[Any]:
        """Read the array under a key of an object, element by element; what comes before it is skipped.

        Args:
            key: the key.
            hint: what else the file may be, for the message where it has no such key.

        Raises:
            UserError: the object has no such key.
            BrokenFileError: the text is broken.
        """
        self._expect("{")
        while self.peek() not in ("}", ""):
            name = self.value()
            self._expect(":")
            if name == key:
                yield from self.array()
                return
            self._skip()
            if self.peek() == ",":
                self._at += 1
        raise UserError(f"{self._place} has no key {key!r}; {hint}")

    def value_of(self, key: str) -> Any:
        """Read the value under a key of an object; None where there is none. What comes before it is skipped.

        Raises:
            BrokenFileError: the text is broken.
        """
        self._expect("{")
        while self.peek() not in ("}", ""):
            name = self.value()
            self._expect(":")
            if name == key:
                return self.value()
            self._skip()
            if self.peek() == ",":
                self._at += 1
        return None

    def _value(self) -> Any:
        """Read one value whole; raises what the decoder raises."""
        self.peek()
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._at)
            except JSONDecodeError as error:
                if self._is_cut(error) and len(self._text) - self._at <= LONGEST and self._more():
                    continue
                raise
            if not UNFINISHED.match(self._text, end) or not self._more():
                self._at = end
                return value

    def _is_cut(self, error: JSONDecodeError) -> bool:
        """Whether the text that comes next may mend it."""
        return error.msg.startswith("Unterminated string") or error.pos > len(self._text) - TOKEN

    def _element(self, keys: frozenset[str] | None) -> Any:
        """Read one element; for `keys` see `json_skip`."""
        try:
            return self._value()
        except (ValueError, RecursionError) as error:
            mistake = self._mistake(error)
            while (end := next_element(self._text, self._at, keys)) is None:
                if len(self._text) - self._at > LONGEST:
                    raise mistake from error
                if not self._more():
                    end = last_element(self._text, self._at, keys)
                    break
            if end is None:
                raise mistake from error
            self._at = end
            return Broken(whats_wrong(error))

    def _skip(self) -> None:
        if self.peek() != "[":
            self.value()
            return
        for _ in self.array():  # not as one value: it may be the larger part of the file
            pass

    def _expect(self, char: str) -> None:
        if self.peek() != char:
            raise self._mistake(JSONDecodeError(f"{char!r} expected", self._text, self._at))
        self._at += 1

    def _more(self) -> bool:
        """Read on and drop what was used; as much again as there is, so that a long value costs linear time."""
        read = self._file.read(max(CHUNK, len(self._text) - self._at))
        if not read:
            return False
        self._line += self._text.count("\n", 0, self._at)
        self._text = self._text[self._at :] + read
        self._at = 0
        return True

    def _mistake(self, error: ValueError | RecursionError) -> BrokenFileError:
        at = error.pos if isinstance(error, JSONDecodeError) else self._at
        line = self._line + self._text.count("\n", 0, at)
        return BrokenFileError(f"{self._place}, line {line}: {whats_wrong(error)}; is the file complete?")


def objects_in(array: Iterable[Any], damage: Damage, unit: str = "entry") -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of an array with their numbers, from 1; what is none is left out. Messages call one `unit`."""
    for number, value in damage.numbered(array, unit):
        if isinstance(value, dict):
            yield number, value
        else:
            damage.left_out(number, value.why if isinstance(value, Broken) else "no object")
