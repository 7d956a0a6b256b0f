"""X-Robots-Tag headers, taken apart.

    header    = item *( ("," | ";") item )
    item      = [ agent ":" ] directive [ ":" value ]

An agent holds for the rest of its header, or until the next one. The grammar does not tell `agent: directive` from
`directive: value`, and unknown directives come up every year. So a word before a colon is an agent only if a directive
that is known follows it; else it is a directive with a value, and what stands beside it goes on to hold for whom it
held. A value may hold colons, but no comma save that after the day's name in a date.

img2dataset reads `[agent:] directive, directive`: in `noai, max-image-preview:large` it overlooks the `noai`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Final, NamedTuple

from stages.download.dates import parse_date

_WITH_VALUE: Final = {"max-snippet", "max-image-preview", "max-video-preview", "unavailable_after"}
_KNOWN: Final = _WITH_VALUE | {
    *("all", "none", "index", "follow", "noindex", "nofollow", "noimageindex", "noai", "noimageai"),
    *("noarchive", "nocache", "nosnippet", "notranslate", "noodp", "noydir", "indexifembedded"),
}
_EVERYBODY: Final = {"*", "robots"}
_DAY: Final = re.compile(r"(?<=unavailable_after)\s*:\s*[a-z]+\.?\s*,\s*(?=\d)", re.IGNORECASE)
"""The day's name at the beginning of a date, whose comma separates nothing."""


class Rule(NamedTuple):
    """One directive."""

    agent: str
    """Whom it holds for, in lower case; "" for everybody."""
    directive: str
    """In lower case."""
    value: str

    def means(self, now: float) -> set[str]:
        """The directives that it amounts to at a time, in seconds since 1970."""
        if self.directive == "none":
            return {"none", "noindex", "nofollow"}
        if self.directive == "unavailable_after":
            date = parse_date(self.value)
            return {"unavailable_after", "noindex"} if date is not None and date <= now else set()
        return {self.directive}


def disallowed_by(headers: Iterable[str], opt_out: Collection[str], agent: str, now: float) -> str | None:
    """The first directive of these headers, as it stands there, that disallows a use; None if none does.

    Args:
        headers: the values of an answer's X-Robots-Tag headers.
        opt_out: the directives that disallow it.
        agent: the crawler's name.
        now: seconds since 1970, against which `unavailable_after` is held.
    """
    unwanted = {directive.strip().lower() for directive in opt_out}
    for rule in rules(headers, unwanted):
        if rule.agent in ("", agent.strip().lower()) and rule.means(now) & unwanted:
            return f"{rule.directive}: {rule.value}" if rule.value else rule.directive
    return None


def rules(headers: Iterable[str], known: Collection[str] = ()) -> Iterator[Rule]:
    """Yield every directive of these headers.

    Args:
        headers: the values of an answer's X-Robots-Tag headers.
        known: directives beside the common ones.
    """
    directives = _KNOWN.union(known)
    for header in headers:
        agent = ""
        for item in re.split("[,;]", _DAY.sub(": ", header)):
            name, rest = _split(item)
            if name not in _WITH_VALUE and _split(rest)[0] in directives:
                agent = "" if name in _EVERYBODY else name
                name, rest = _split(rest)
            if name:
                yield Rule(agent, name, rest)


def _split(item: str) -> tuple[str, str]:
    name, _, rest = item.partition(":")
    return name.strip().lower(), rest.strip()
