"""Under what name a manifest's graph is kept in an output: that of its file, which no other one may take from it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pipeline.dag.stored import GRAPHS, Stored, stored_graph
from pipeline.root import FOREIGN
from pipeline.store import Store
from stages.errors import UserError

_LONGEST: Final = 100
"""Characters of what was set that a name shows; file systems take 255 in all."""
_UNPACKED: Final = "_ray_pkg_"
"""How a folder begins that Ray unpacks a job into: another one each time that a file in it has changed."""


def is_manifest(target: str) -> bool:
    """Whether what a command names is a manifest; else it is an output, or the graph of a run in one."""
    path = Path(target).expanduser()
    return path.is_file() and not _looks_stored(path)


def name_of(path: Path, changes: Sequence[str] = ()) -> str:
    """The name of a manifest, without its ending, and of what was set in it: each such arm is kept beside the others.

    Raises:
        UserError: nobody would find a graph of that name.
    """
    if path.stem.startswith(FOREIGN):
        raise UserError(f"{path}: a name that begins with '{FOREIGN}' is that of macOS's own files; rename it")
    if _looks_stored(path):
        raise UserError(
            f"{path}: a JSON file in a folder called '{GRAPHS}' is taken for the graph of a run; rename one of them"
        )
    return "+".join(filter(None, (path.stem, _name_of_changes(changes))))


def digest_of(path: Path, changes: Sequence[str] = ()) -> str:
    """The sha256 of a manifest's text, and of what was set in it."""
    return hashlib.sha256(path.read_bytes() + "".join(f"\0{change}" for change in changes).encode()).hexdigest()


def _name_of_changes(changes: Sequence[str]) -> str:
    """What was set, as a part of a file's name: whatever the order, and where keys repeat, the last one."""
    latest = {place.strip(): text.strip() for place, _, text in (change.partition("=") for change in changes)}
    said = "+".join(f"{place}={text}" for place, text in sorted(latest.items()))
    shown = re.sub(r"[^A-Za-z0-9._=+@-]", "_", said)[:_LONGEST]
    return shown if shown == said else f"{shown}-{hashlib.sha256(said.encode()).hexdigest()[:8]}"


def location_of(path: Path) -> str:
    """Where a manifest lies, to be known by; "" of one that lies there for one job alone."""
    place = path.expanduser().absolute()
    return "" if any(part.startswith(_UNPACKED) for part in place.parts) else str(place)


def graph_of(store: Store, path: Path, changes: Sequence[str] = ()) -> Stored | None:
    """The graph that the latest run of a manifest, so changed, left in its output, None where none has.

    Raises:
        UserError: the name is another manifest's, or what it has left cannot be read.
    """
    stored = stored_graph(store, name_of(path, changes))
    if stored and (other := _other(stored, path)):
        raise UserError(
            f"{path}: its output {store.root} has the results of another manifest of this name, {other}; "
            "rename one of the two, or give one another 'output'"
        )
    return stored


def _other(stored: Stored, path: Path) -> Path | None:
    """The manifest that has a name, if it is another one and still there."""
    other = Path(stored.path)
    if not stored.path or not location_of(path) or not other.is_file():
        return None
    return None if other.samefile(path) else other


def _looks_stored(path: Path) -> bool:
    return path.suffix == ".json" and path.absolute().parent.name == GRAPHS
