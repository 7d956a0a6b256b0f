"""Of which rows a training may have learned: what it was given, and what those were given that it went on from.

It needs no torch, so who commits and who forgets can ask it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from stages.io.files import is_there, open_bytes, write_whole

LISTINGS: Final = "listings.json"
"""The file beside the checkpoints that says, by source, which listings of rows the training was given."""
ADOPTED: Final = "adopted.json"
"""The file that says so of the trainings that it went on from, each by the name of its folder; none, no such file."""

Listings = Mapping[str, Sequence[str]]


def write_listings(folder: str, listings: Listings) -> None:
    """Say what a training is given, before it begins."""
    write_whole(f"{folder}/{LISTINGS}", json.dumps(listings).encode())


def inherit(folder: str, other: str) -> None:
    """Say that the training of one folder goes on from that of another one, which may be deleted afterwards."""
    name = other.rsplit("/", 1)[-1]
    write_whole(f"{folder}/{ADOPTED}", json.dumps(_read(other, ADOPTED) | {name: _read(other, LISTINGS)}).encode())


def earlier_listings(folder: str) -> dict[str, list[str]]:
    """By source, the listings that the trainings were given that this one went on from."""
    joined: dict[str, list[str]] = {}
    for listings in _read(folder, ADOPTED).values():
        for source, names in listings.items():
            joined[source] = list(dict.fromkeys([*joined.get(source, ()), *names]))
    return joined


def all_listings(folder: str) -> dict[str, list[str]] | None:
    """By source, all listings of whose rows the training may have learned; None where it has not begun."""
    if not is_there(f"{folder}/{LISTINGS}"):
        return None
    own, before = _read(folder, LISTINGS), earlier_listings(folder)
    return {source: [*own.get(source, ()), *before.get(source, ())] for source in own.keys() | before.keys()}


def _read(folder: str, name: str) -> dict[str, Any]:
    """A file of a folder; nothing, where there is none."""
    if not is_there(f"{folder}/{name}"):
        return {}
    with open_bytes(f"{folder}/{name}") as file:
        found: dict[str, Any] = json.load(file)
    return found
