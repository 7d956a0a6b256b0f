"""X-Robots-Tag headers, taken apart.

img2dataset reads a header as `[agent:] directive, directive`. A directive that carries a value looks like an agent to
it, so that in `noai, max-image-preview:large` it overlooks the `noai`. What it gets from us has one directive per
header and no values, which it reads right.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

_WITH_VALUE = {"max-snippet", "max-image-preview", "max-video-preview", "unavailable_after"}


def single_directives(headers: Iterable[str]) -> Iterator[str]:
    """Yield `directive` or `agent: directive` for every directive of these X-Robots-Tag headers, in lower case.

    An agent's name holds for the rest of its header, or until the next name.
    """
    for header in headers:
        agent = ""
        for part in header.lower().split(","):
            name, colon, rest = (piece.strip() for piece in part.partition(":"))
            if colon and name not in _WITH_VALUE:
                agent = f"{name}: "
                name = rest.partition(":")[0].strip()
            if name:
                yield f"{agent}{name}"
