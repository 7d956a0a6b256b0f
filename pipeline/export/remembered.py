"""Which exports of its corpus an output knows of, so that `capfilt forget` can say which of them are out of date.

Of each there is a file `<output>/exports/<digest of the destination>.json`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import Final

from pipeline.export.mark import Mark, ShardMark, attempt_at
from pipeline.export.place import Target
from pipeline.store import Store
from stages.errors import DamagedError, UserError
from stages.io.files import absolute, write_whole

EXPORTS: Final = "exports"
_RECORD: Final = re.compile(r"[0-9a-f]{16}\.json")
_READERS: Final = 32


@dataclass(frozen=True)
class Known:
    """An export of the corpus that was made of an output."""

    format: str
    destination: str
    """An absolute path of the host that made it, or an fsspec URL."""


def remember(store: Store, target: Target, to: str) -> list[str]:
    """Write down where an export of the corpus is about to be made.

    Returns:
        What the user should know: that it could not be, as one may export an output that one can only read.
    """
    place = absolute(target.destination)
    digest = hashlib.sha256(place.encode()).hexdigest()[:16]
    try:
        write_whole(f"{store.root}/{EXPORTS}/{digest}.json", json.dumps(asdict(Known(to, place))).encode())
    except OSError as error:
        return [
            f"{store.root} cannot be written ({error.strerror or error}): `capfilt forget` will not name this export"
        ]
    return []


def outdated(store: Store) -> tuple[list[Known], list[str]]:
    """The known exports that still hold what a table of theirs has lost since, as far as they can be seen from here.

    Returns:
        These, and what is said of records that cannot be read.
    """
    told = list[str]()
    return [known for known in _known(store, told) if _is_outdated(store, known)], told


def _known(store: Store, told: list[str]) -> Iterator[Known]:
    folder = f"{store.root}/{EXPORTS}"
    for name in store.names(folder):
        if _RECORD.fullmatch(name):
            try:
                found = store.read_json(f"{folder}/{name}", "format", "destination")
            except DamagedError:
                told.append(f"{folder}/{name} is damaged, and nobody can tell of which export it was; delete it")
            else:
                yield Known(str(found["format"]), str(found["destination"]))


def _is_outdated(store: Store, known: Known) -> bool:
    try:
        content = Target.of(known.destination, one_file=known.format == "json").read_mark()
    except UserError:
        return True  # it cannot be looked at now, and nobody has said that it is gone
    mark = None if content is None else Mark.load(content)
    if mark is None:
        return content is not None  # what lies there, nobody can tell
    if not mark.complete:
        return True
    with ThreadPoolExecutor(_READERS) as pool:
        return any(pool.map(partial(_has_changed, store), mark.shards.items()))


def _has_changed(store: Store, made: tuple[str, ShardMark]) -> bool:
    shard, mark = made
    tables = {result: before for result, before in mark.tables.items() if "/" in result}
    return any(_now(store, result, shard) != before for result, before in tables.items())


def _now(store: Store, result: str, shard: str) -> str | None:
    try:
        return attempt_at(store.artifact(f"{store.root}/{result}", shard))
    except (FileNotFoundError, DamagedError, KeyError):
        return None  # it is not what the export was made of
