"""JSON files that are too large to load: the elements of one array, one after the other.

The standard library's decoder does the work; this keeps just enough text for it to see one element whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import IO, Any

from stages.errors import BrokenFileError, UserError

CHUNK = 1 << 20
"""Characters read at a time."""
UNFINISHED = re.compile(r"[-+.eE0-9]*\Z")
"""After a value, at the end of what was read: were the value a number, it could go on (`1` may become `1.5e3`)."""
LONGEST = 1 << 26
"""Characters that one element may have. It bounds the memory that a broken file can take."""


class JsonStream:
    """A cursor in a JSON text.

    Args:
        file: the text.
        place: its name, for messages.
    """

    def __init__(self, file: IO[str], place: str) -> None:
        self._file = file
        self._place = place
        self._decoder = json.JSONDecoder()
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
        """Read one value whole."""
        self.peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if len(self._text) - self._at > LONGEST or not self._more():
                    raise self._mistake(error.msg, error.pos) from error
                continue
            if not UNFINISHED.match(self._text, end) or not self._more():
                self._at = end
                return value

    def array(self) -> Iterator[Any]:
        """Read an array, element by element."""
        self._expect("[")
        if self.peek() != "]":
            yield self.value()
            while self.peek() == ",":
                self._at += 1
                yield self.value()
        self._expect("]")

    def array_of(self, key: str) -> Iterator[Any]:
        """Read the array under a key of an object, element by element; what comes before it is skipped.

        Raises:
            UserError: the object has no such key, or the text is broken.
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
        raise UserError(f"{self._place} has no key {key!r}")

    def _skip(self) -> None:
        if self.peek() != "[":
            self.value()
            return
        for _ in self.array():  # not as one value: it may be the larger part of the file
            pass

    def _expect(self, char: str) -> None:
        if self.peek() != char:
            raise self._mistake(f"{char!r} expected", self._at)
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

    def _mistake(self, what: str, at: int) -> BrokenFileError:
        line = self._line + self._text.count("\n", 0, at)
        return BrokenFileError(f"{self._place}, line {line}: broken JSON: {what}; is the file complete?")
