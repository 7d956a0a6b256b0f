"""Names of folders that somebody takes for something else: a glob, a column, an escape, another filesystem."""

from __future__ import annotations

from hypothesis import strategies

ODD = "k=v [1]{a,b}*? 'q' \"d\" #%20 ~ $HOME;é🙂\x1b[31m "
"""All of it at once, with a blank at its end."""


def names() -> strategies.SearchStrategy[str]:
    """Names of one folder, half of their characters special to some library."""
    special = strategies.sampled_from("[]{}*?!^-=~%#'\"$&:;,.() \t\n")
    letters = strategies.sampled_from("1abüあ🙂")
    several = strategies.lists(strategies.one_of(special, letters), min_size=1, max_size=8).map("".join)
    return several.filter(lambda name: name.strip(".") != "")


def lookalikes(name: str) -> set[str]:
    """Other names that the name matches if it is taken for a pattern."""
    bare = "".join(character for character in name if character not in "[]{}*?!^")
    found = {bare, name.replace("*", "xx").replace("?", "x"), "1", "a", "b"}
    return {other for other in found if other.strip(".")} - {name}
