"""`capfilt forget`: images leave everything that a run has committed, and no later run fetches them.

What it promises, once it has ended without an error and if no run of the same output was under way meanwhile:

* Their URLs and hashes are on the removal list; a download refuses them (`removed`), redirects to them included.
* Under every fingerprint of the output, not only the manifest's present one: no tar holds the image, the images table
  holds neither its size nor its member, the urls table neither its text nor its source's own columns, and no table of
  captions or scores has a row of it, nor has another image its text (`shuffle`). Its key, URL and hash stay, with the
  status `removed`, or the one that says why it never came; what was found of a whole source names its key until that is
  made anew. What was measured of all images at once loses this one's rows, and values of the whole set are made anew by
  the next run.
* Every other row, and every other file in a tar, is what it was, byte for byte.

Each file is replaced whole, so a reader sees the old or the new one. Stopped at any point, the same command goes on. A
table or a tar that is damaged is no reason to leave the others: it is told, and the command ends with an error.
What it cannot do: a model that was trained on the image keeps what it learned, and images that lie in a source's own
folder or tars are not capfilt's to delete; it says where those are, and which models (`taught`). No model is deleted:
those are stale from then on, and `capfilt run --refresh STEP` trains them anew without the image.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.dag.lineage import descendants
from pipeline.execute.events import one_line
from pipeline.store import Store
from pipeline.upkeep.clearing import Cleared, Folder, clear
from pipeline.upkeep.taught import Listed, Taught, steps_of
from stages.errors import UserError
from stages.io.files import is_there, write_whole
from stages.io.shards import BROKEN
from stages.kinds import KINDS
from stages.registry import STAGES
from stages.removal_files import without_blanks
from stages.removals import BLANKS, Removals, add_entries, is_entry, read_list, without_remark
from stages.texts import distinct

READERS: Final = 8
"""Shards that are looked through at once."""
SUMS: Final = ("sha256", "md5")
"""The columns of the images table by which an image is known, whatever its address."""


@dataclass
class Forgotten(Cleared):
    """What was done."""

    added: list[str] = field(default_factory=list)
    """What is new on the list: the entries given, and the URLs of images that were given by their hash."""
    rows: int = 0
    """Rows that are on the list, in all cut sources of the output."""
    odd: list[str] = field(default_factory=list)
    """What is said of lines of the list that name no image."""
    models: list[Taught] = field(default_factory=list)
    """Those that keep what they learned of images on the list."""
    failed: dict[str, str] = field(default_factory=dict)
    """Why a table could not be looked at, or cleared, by its location."""

    def note(self, table: str, error: BaseException) -> None:
        """A table is gone or broken; the others are cleared all the same."""
        words = one_line(error)
        told = words if isinstance(error, UserError) else f"{table} cannot be cleared ({words}); mend that"
        self.failed.setdefault(table, f"{told}; then `capfilt forget` once more, for images on the list may be in it")


@dataclass(frozen=True)
class _Lineage:
    """A cut source and all that was ever made of it: a key means the same row in every table."""

    urls: Folder
    made: tuple[Folder, ...]
    measured: tuple[Folder, ...]
    """What was measured of all shards at once, and has a row for a key."""
    models: tuple[Folder, ...]

    @property
    def shards(self) -> list[str]:
        """All that any of it has a table of."""
        return sorted(self.urls.shards.union(*(folder.shards for folder in self.made)))

    @property
    def downloads(self) -> list[Folder]:
        """What was downloaded, once per fingerprint."""
        return [folder for folder in self.made if folder.kind == "images"]


def entries_of(texts: Sequence[str], listed: Path | None) -> tuple[list[str], list[str]]:
    """The entries that a command names, in its arguments and in a file, and what is said of lines that name no image.

    Raises:
        UserError: an argument is neither an http(s) URL nor a sum, or the file cannot be read.
    """
    named = [without_remark(text) for text in texts]
    for text in named:
        if not is_entry(text):
            what = f"{text!a} is neither an http(s) URL nor a sha256 or md5 sum (64 or 32 hex digits)"
            raise UserError(f"{what}; {BLANKS}" if " " in text else what)
    if listed is None:
        return named, []
    found = read_list(str(listed))
    return [*named, *found.entries], found.odd


def forget(store: Store, removal_list: str, entries: Sequence[str]) -> Forgotten:
    """Put entries on the removal list, and clear the output of everything that is on it.

    Args:
        store: the output.
        removal_list: fsspec URL of the list; it is begun if there is none.
        entries: URLs, sha256 and md5 sums; none to apply the list as it is.

    What is damaged is told with its name, and all else is cleared; the list then counts as not yet applied.

    Raises:
        UserError: the list cannot be read, or nobody can tell what a folder of the output was made of.
    """
    store.reach()
    done = Forgotten(added=add_entries(removal_list, entries))
    lineages = _lineages(store)
    if digests := Removals.of(read_list(removal_list).entries).digests:
        urls = map(without_blanks, _urls_of(store, lineages, digests, done))
        done.added += add_entries(removal_list, list(filter(is_entry, urls)))  # a list may call an image anything
    listed = read_list(removal_list)
    removals, done.odd = Removals.of(listed.entries), list(listed.odd)
    models: dict[str, Taught] = {}
    steps = steps_of(store, done.odd)
    for lineage in lineages:
        models |= _forget_rows(store, lineage, removals, steps, done)
    done.models = list(models.values())
    if not done.failed:
        write_whole(_record(store), json.dumps({"sha256": _digest(listed.entries)}).encode())
    return done


def _forget_rows(
    store: Store, lineage: _Lineage, removals: Removals, steps: Mapping[str, str], done: Forgotten
) -> dict[str, Taught]:
    """Clear a lineage of its rows that are on the list; what was trained on them, by version."""
    looked = _of_shards(lineage, partial(_find, store, lineage, removals, done))
    rows = {shard: keys for shard, keys in looked if len(keys)}
    stored = {shard: _stored(store, lineage, shard, keys, done) for shard, keys in rows.items()}
    listed = Listed(store, lineage.urls.url, done.note)
    listed.write_down(stored)  # before anything goes, so that it is known of what is trained on the rest
    for shard, keys in rows.items():
        done.rows += len(keys)
        _clear(store, lineage, shard, keys, done)
    if rows:
        _clear_measured(store, lineage, pa.concat_arrays(list(rows.values())), done)
    return listed.taught(lineage.models, {shard: keys.to_pylist() for shard, keys in rows.items()}, steps)


def apply_list(store: Store, removal_list: str | None) -> Forgotten:
    """Clear the output of what is on the list, unless it has been cleared of this very list before.

    Returns:
        What was done, with what is said of lines of the list that name no image.

    Raises:
        UserError: as `forget`.
    """
    if removal_list is None:
        return Forgotten()
    listed = read_list(removal_list)
    if _digest(listed.entries) == applied(store):
        return Forgotten(odd=listed.odd)
    return forget(store, removal_list, ())


def applied(store: Store) -> str | None:
    """The digest of the list that the output has been cleared of, None if of none."""
    url = _record(store)
    return str(store.read_json(url, "sha256")["sha256"]) if is_there(url) else None


def _record(store: Store) -> str:
    return f"{store.root}/removals.json"


def _digest(entries: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(entries).encode()).hexdigest()


def _lineages(store: Store) -> list[_Lineage]:
    """Everything in the output that has keys, by the cut source that the keys are of."""
    return [
        _lineage(store, stage, cut)
        for stage, spec in STAGES.items()
        if spec.grain == "file"
        for cut in store.fingerprints(stage)
    ]


def _lineage(store: Store, stage: str, cut: str) -> _Lineage:
    made = descendants(store, cut)
    rows = [found for found in made if not found.at_once]
    models = [found for found in made if KINDS[STAGES[found.stage].writes].is_model]
    measured = [found for found in made if STAGES[found.stage].grain == "run" and _has_keys(found.stage)]
    folders = (tuple(Folder.at(store, each.stage, each.url) for each in found) for found in (rows, measured, models))
    return _Lineage(Folder.at(store, stage, store.folder(stage, cut)), *folders)


def _has_keys(stage: str) -> bool:
    return "key" in KINDS[STAGES[stage].writes].schema.names


def _of_shards(lineage: _Lineage, look: Callable[[str], Any]) -> Iterator[tuple[str, Any]]:
    """What `look` finds in every shard of a lineage."""
    shards = lineage.shards
    with ThreadPoolExecutor(READERS) as pool:
        yield from zip(shards, pool.map(look, shards), strict=True)


def _urls_of(store: Store, lineages: Sequence[_Lineage], digests: Collection[str], done: Forgotten) -> list[str]:
    """The URLs under which images of these sums were found."""
    wanted = pa.array(sorted(digests), pa.string())
    looks = [(lineage, partial(_urls_in, store, lineage, wanted, done)) for lineage in lineages]
    return [url for lineage, look in looks for _, urls in _of_shards(lineage, look) for url in urls]


def _urls_in(store: Store, lineage: _Lineage, digests: pa.Array, done: Forgotten, shard: str) -> list[str]:
    read = [_read(store, folder, shard, ["url", *SUMS], done) for folder in lineage.downloads]
    found = [
        table["url"].filter(pc.is_in(table[name], digests)) for table in read if table is not None for name in SUMS
    ]
    return [url for urls in found for url in urls.to_pylist() if url]


def _find(store: Store, lineage: _Lineage, removals: Removals, done: Forgotten, shard: str) -> pa.Array:
    """The keys of a shard's rows that are on the list."""
    urls = _read(store, lineage.urls, shard, ["key", "url"], done)
    tables = [] if urls is None else [urls]
    if removals.digests or urls is None:  # the images' tables know the addresses as well
        found = [_read(store, folder, shard, ["key", "url", *SUMS], done) for folder in lineage.downloads]
        tables += [table for table in found if table is not None]
    rows = [row for table in tables for row in table.to_pylist()]
    keys = {row["key"] for row in rows if removals.has_url(row["url"]) or removals.has_content(*map(row.get, SUMS))}
    return pa.array(sorted(keys), pa.string())


def _stored(store: Store, lineage: _Lineage, shard: str, keys: pa.Array, done: Forgotten) -> list[str]:
    """Those of the keys that an image is there of."""
    found = [_read(store, folder, shard, ["key", "status"], done) for folder in lineage.downloads]
    there = [table["key"].filter(pc.equal(table["status"], "success")) for table in found if table is not None]
    return sorted(set(keys.to_pylist()).intersection(key for own in there for key in own.to_pylist()))


def _texts(store: Store, lineage: _Lineage, shard: str, keys: pa.Array, done: Forgotten) -> set[str]:
    """What people said of some images of a shard, as candidates have it."""
    table = _read(store, lineage.urls, shard, ["key", "texts"], done)
    said = [] if table is None else table["texts"].filter(pc.is_in(table["key"], keys)).to_pylist()
    return {text for texts in said for text in distinct(texts or ())}


def _read(store: Store, folder: Folder, shard: str, columns: Sequence[str], done: Forgotten) -> pa.Table | None:
    """Columns of a table; None where there is none, or where it is told what is amiss with it."""
    if shard not in folder.shards:
        return None
    try:
        return store.artifact(folder.url, shard).table(columns)
    except BROKEN as error:
        done.note(folder.table(shard), error)
        return None


def _clear_measured(store: Store, lineage: _Lineage, keys: pa.Array, done: Forgotten) -> None:
    """Take rows out of what was measured of all shards at once."""
    for folder in lineage.measured:
        for shard in sorted(folder.shards):
            try:
                clear(store, folder, shard, keys, done)
            except BROKEN as error:
                done.note(folder.table(shard), error)


def _clear(store: Store, lineage: _Lineage, shard: str, keys: pa.Array, done: Forgotten) -> None:
    """Take rows out of every artifact of a shard."""
    texts = _texts(store, lineage, shard, keys, done)
    for folder in (*lineage.made, lineage.urls):  # that of the texts last, so that whoever is stopped finds them again
        try:
            clear(store, folder, shard, keys, done, texts=texts)
        except BROKEN as error:
            done.note(folder.table(shard), error)
