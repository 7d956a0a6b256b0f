"""Names of columns, of which no two are the same."""

from __future__ import annotations

from collections.abc import Sequence


def distinct(names: Sequence[str]) -> list[str]:
    """Return names of which none is there twice: the second `a` is `a_1`, as DuckDB calls it."""
    found: dict[str, None] = {}
    for name in names:
        new, number = name, 0
        while new in found or (number and new in names):
            number += 1
            new = f"{name}_{number}"
        found[new] = None
    return list(found)
