"""Where a list goes on after an element that is no JSON.

Told by brackets and quotes where these balance, and else by the next element that decodes and has the keys of the one
before. Where neither says, it cannot be told, and the file is broken.
"""

from __future__ import annotations

import re

from stages.urls.json_value import DECODER

TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|["\[\]{},]', re.DOTALL)
AFTER_STRING = re.compile(r"\s*[,:\]}]")
PARTNER = {"]": "[", "}": "{"}
NEXT = re.compile(r",\s*(?=\{)")
LAST = re.compile(r"\}\s*(\])\s*\}?\s*\Z")


def next_element(text: str, at: int, keys: frozenset[str] | None) -> int | None:
    """Return where the comma or bracket stands that ends an element.

    Args:
        text: as much as has been read.
        at: where the element begins.
        keys: those of the latest element that was an object, empty where there was none; None if any object will do.

    Returns:
        None where the text does not say; more of it may.
    """
    return end if (end := _balanced(text, at)) is not None else _next_of_kind(text, at, keys)


def last_element(text: str, at: int, keys: frozenset[str] | None) -> int | None:
    """Return where the bracket stands that ends the list, at the text's end; None where the text does not say."""
    found = LAST.search(text, at)
    return found.start(1) if found and (keys or not NEXT.search(text, at)) else None


def _balanced(text: str, at: int) -> int | None:
    opened: list[str] = []
    for token in TOKENS.finditer(text, at):
        char = token[0]
        if len(char) > 1:
            if not AFTER_STRING.match(text, token.end()):
                return None
        elif char == '"':
            return None
        elif char in "[{":
            opened.append(char)
        elif char == ",":
            if not opened:
                return token.start()
        elif not opened:
            return token.start() if char == "]" else None
        elif opened.pop() != PARTNER[char]:
            return None
    return None


def _next_of_kind(text: str, at: int, keys: frozenset[str] | None) -> int | None:
    if keys is not None and not keys:
        return None
    for comma in NEXT.finditer(text, at):
        try:
            value, _ = DECODER.raw_decode(text, comma.end())
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) and (keys is None or 2 * len(keys & value.keys()) > len(keys)):
            return comma.start()
    return None
