r"""All that a command writes to a terminal: in it, words from outside are text and nothing else.

A server's error, a host's name, a caption or a file's name may hold an ESC that a terminal obeys, or `[red]`, which
rich does. Control characters are written as escapes (`\x1b`); letters of all scripts and emoji stay what they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import typer
from rich.console import Console as RichConsole
from rich.text import Text

from stages.distinct import distinct
from stages.io.json_text import to_json

# C0 but for tab and line feed, DEL, C1 (of which U+009B is a second ESC [), and halves of a character, which no
# terminal can be sent
_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_IN_JSON: Final = re.compile("[\x7f-\x9f\ud800-\udfff]")
_BREAKS: Final = str.maketrans({"\t": "\\t", "\n": "\\n", "\r": "\\r"})


class Console(RichConsole):
    """A console for which every string is text: no markup, no `:emoji:`, no control characters. Style is for `Text`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """What rich makes of every string that it is given."""
        return super().render_str(clean(text), **options)


def clean(text: str) -> str:
    """A text whose control characters are escapes; tabs and line breaks stay."""
    return _CONTROL.sub(_escape, text)


def single_line(text: str) -> str:
    """A text whose control characters are escapes, tabs and line breaks among them."""
    return clean(text.translate(_BREAKS))


def say(text: str, *, err: bool = False) -> None:
    """Write a line to standard output, or to standard error."""
    typer.echo(clean(text), err=err)


def say_json(value: Any) -> None:
    """Write JSON to standard output: every value as JSON has it, NaN and infinities as null."""
    # JSON itself escapes what is below a blank; the others stand within strings only
    typer.echo(_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", to_json(value, indent=1)))


def records(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    """Rows as objects; the second of two columns of one name is `name_1`."""
    names = distinct(columns)
    return [dict(zip(names, row, strict=True)) for row in rows]


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
