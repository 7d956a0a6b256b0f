"""X-Robots-Tag headers, taken apart.

img2dataset reads a header as `[agent:] directive, directive`. A directive that carries a value looks like an agent to
it, so that in `noai, max-image-preview:large` it overlooks the `noai`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

_WITH_VALUE = {"max-snippet", "max-image-preview", "max-video-preview", "unavailable_after"}


def disallowed_by(headers: Iterable[str], opt_out: Collection[str], agent: str) -> str | None:
    """The first directive of `opt_out` that these X-Robots-Tag headers have for everybody or for this agent."""
    unwanted = {directive.strip().lower() for directive in opt_out}
    for name, directive in directives(headers):
        if directive in unwanted and name in ("", agent.strip().lower()):
            return directive
    return None


def directives(headers: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield (agent, directive) for every directive of these X-Robots-Tag headers, in lower case, without values.

    An agent's name, "" for everybody, holds for the rest of its header, or until the next name.
    """
    for header in headers:
        agent = ""
        for part in header.lower().split(","):
            name, colon, rest = (piece.strip() for piece in part.partition(":"))
            if colon and name not in _WITH_VALUE:
                agent = name
                name = rest.partition(":")[0].strip()
            if name:
                yield agent, name
