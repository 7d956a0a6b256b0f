r"""What of a text should not stand in a corpus unseen, as SQL: tags in the views, by which nobody's row is dropped.

`email`, `phone`: an address or a number by which somebody can be reached; of phone numbers those with a `+` in front,
and those of North America as it writes them. `ip_address`: four numbers up to 255. `social_security`: a number of the
form that the USA's has, but for those that were never given out. `card`: 13 to 19 digits that begin as payment cards do
and pass Luhn's check (ISO/IEC 7812-1, annex B), which one in ten of other numbers passes as well. `offensive`: a word
or phrase of the manifest's own list (`flagged_words`), whole and in any case; without a list nothing is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from pipeline.sql.scan import text as quoted

AT_ONCE: Final = 200
"""Words of a pattern: with thousands RE2 has no table for it any more, and takes minutes for what takes a second."""
_LETTER: Final = r"[\p{L}\p{M}\p{N}]"
_BEFORE, _AFTER = (rf"(?:{end}|[^\p{{L}}\p{{M}}\p{{N}}])" for end in "^$")
_BYTE: Final = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_PATTERNS: Final = {
    "email": rf"{_LETTER}[\p{{L}}\p{{M}}\p{{N}}._%+-]*@(?:[\p{{L}}\p{{M}}\p{{N}}-]+\.)+\p{{L}}{{2,}}",
    # 8 to 15 digits behind a plus (ITU-T E.164); or (555) 123-4567, 555-123-4567, 555.123.4567
    "phone": (
        rf"(?:^|[^\p{{L}}\p{{N}}])(?:\+[1-9](?:[ ()./-]{{0,2}}\d){{7,14}}"
        rf"|(?:\([2-9]\d\d\) ?|[2-9]\d\d[-.])[2-9]\d\d[-.]\d{{4}}){_AFTER}"
    ),
    "ip_address": rf"(?:^|[^\p{{L}}\p{{N}}.])(?:{_BYTE}\.){{3}}{_BYTE}(?:$|[^\p{{L}}\p{{N}}.]|\.(?:$|\D))",
    "social_security": (
        r"(?:^|[^\d-])(?:00[1-9]|0[1-9]\d|[1-578]\d\d|6[0-57-9]\d|66[0-57-9])"
        r"-(?:0[1-9]|[1-9]\d)-(?:000[1-9]|00[1-9]\d|0[1-9]\d\d|[1-9]\d{3})(?:$|[^\d-])"
    ),
}
_CARD: Final = r"(?:^|[^\d-])([2-6](?:[ -]?\d){12,18})(?:$|[^\d-])"


def text_flags(text: str, words: Sequence[str] = ()) -> str:
    """The SQL expression of the flags of an SQL expression, a list of texts; NULL where nothing is found.

    Args:
        text: the expression.
        words: what is offensive, whole words or phrases.
    """
    found = {name: f"regexp_matches({text}, {quoted(pattern)}, 'i')" for name, pattern in _PATTERNS.items()}
    found["card"] = _card(text)
    found["offensive"] = " OR ".join(f"regexp_matches({text}, {quoted(each)}, 'i')" for each in _any_of(words))
    cases = ", ".join(f"CASE WHEN {sql} THEN '{name}' END" for name, sql in found.items() if sql)
    return f"nullif(list_filter([{cases}], lambda found: found IS NOT NULL), [])"


def _any_of(words: Sequence[str]) -> Iterator[str]:
    """Patterns for some words each."""
    for first in range(0, len(words), AT_ONCE):
        either = "|".join(r"\s+".join(map(re.escape, word.split())) for word in words[first : first + AT_ONCE])
        yield f"{_BEFORE}(?:{either}){_AFTER}"


def _card(text: str) -> str:
    """Whether one of the numbers that look like a card's passes Luhn's check."""
    doubled = "2 * digit::INTEGER % 10 + 2 * digit::INTEGER // 10"
    weighed = f"lambda digit, place: CASE WHEN place % 2 = 1 THEN digit::INTEGER ELSE {doubled} END"
    digits = "string_split(reverse(regexp_replace(number, '[ -]', '', 'g')), '')"
    passes = f"list_sum(list_transform({digits}, {weighed})) % 10 = 0"
    numbers = f"regexp_extract_all({text}, {quoted(_CARD)}, 1)"
    return f"len(list_filter({numbers}, lambda number: {passes})) > 0"
