"""What is new in a list since the run before, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Final

import pyarrow.parquet as pq

from pipeline.dag.graph import Graph, Node
from stages.io.files import open_bytes
from stages.urls.parts import TABLE, Part

NAMED: Final = 3
"""Files that are named."""
COUNTED: Final = 100
"""Files of which the rows are counted, where that costs little."""


def news(node: Node, before: Graph | None) -> str:
    """What is new in the files of a source.

    Args:
        node: cuts them.
        before: the graph of the run before.
    """
    then = before.nodes.get(node.name) if before else None
    return "" if then is None else "; ".join(_news(node.parts, then.parts))


def _news(now: Sequence[Part], then: Sequence[Part]) -> Iterator[str]:
    old, new = ({part.file: part for part in parts} for parts in (then, now))
    added = [part for file, part in new.items() if file not in old]
    changed = [part for file, part in new.items() if file in old and part.digest != old[file].digest]
    gone = [part for file, part in old.items() if file not in new]
    if added:
        yield f"{_files(added)} added: {_named(added)}{_rows(added)}"
    if changed:
        yield f"{_files(changed)} changed: {_named(changed)}"
    if gone:
        yield f"{_files(gone)} gone: {_named(gone)}"
    kept = [(part, old[file]) for file, part in new.items() if file in old]
    for name in sorted({name for part, _ in kept for name in part.source.chooses}):
        if any(getattr(part.source, name) != getattr(before.source, name, None) for part, before in kept):
            yield f"another '{name}'"
    if any(part.limit != before.limit for part, before in kept):
        yield "another --limit"


def _files(parts: Sequence[Part]) -> str:
    return "1 file" if len(parts) == 1 else f"{len(parts):,} files"


def _named(parts: Sequence[Part]) -> str:
    more = f" and {len(parts) - NAMED:,} more" if len(parts) > NAMED else ""
    return ", ".join(PurePosixPath(part.files[0]).name for part in parts[:NAMED]) + more


def _rows(parts: Sequence[Part]) -> str:
    """How many rows files have that say so at their end."""
    if len(parts) > COUNTED or any(part.broken or not part.files[0].endswith(TABLE) for part in parts):
        return ""
    rows = 0
    for part in parts:
        with open_bytes(part.files[0]) as file:
            rows += pq.read_metadata(file).num_rows
    return f", {rows:,} row{'' if rows == 1 else 's'}"
