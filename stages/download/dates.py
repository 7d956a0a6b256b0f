"""Points in time and waits, as servers write them in headers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

LONGEST_WAIT: Final = 86_400.0
"""Seconds; whoever names more means no time, or mischief."""
_SECONDS: Final = re.compile(r"\d+(\.\d+)?", re.ASCII)


def parse_date(text: str) -> float | None:
    """The seconds since 1970 that a date stands for; None if it is no date.

    Args:
        text: a date as in RFC 822, RFC 850, ISO 8601 or of C's asctime; without a zone it is UTC, without a time the
            beginning of its day.
    """
    text = text.strip()
    attempts = ((datetime.fromisoformat, text), (parsedate_to_datetime, text), (parsedate_to_datetime, f"{text} 0:00"))
    for parse, words in attempts:
        try:
            found = parse(words)
            return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            continue
    return None


def named_wait(values: Iterable[str], now: float) -> float | None:
    """The seconds that Retry-After headers ask to wait, the longest of them; None if none of them means anything.

    Args:
        values: the headers' values; a number of seconds, or a date.
        now: the seconds since 1970.

    Returns:
        At least 0 and at most `LONGEST_WAIT`.
    """
    waits = [wait for value in values if (wait := _wait(value.strip(), now)) is not None]
    return max((wait for wait in waits if wait <= LONGEST_WAIT), default=None)


def _wait(text: str, now: float) -> float | None:
    if _SECONDS.fullmatch(text):
        return float(text)
    date = parse_date(text)
    return None if date is None else max(0.0, date - now)
