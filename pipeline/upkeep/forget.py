"""`capfilt forget`: images leave everything that a run has committed, and no later run fetches them.

What it promises, once it has ended without an error and if no run of the same output was under way meanwhile:

* Their URLs and hashes are on the removal list; a download refuses them (`removed`), redirects to them included.
* Under every fingerprint of the output, not only the manifest's present one: no tar holds the image, the images table
  holds neither its size nor its member, the urls table neither its text nor its source's own columns, and no table of
  captions, scores or verdicts has a row of it. Its key, URL and hash stay, with the status `removed`.
* Every other row, and every other file in a tar, is what it was, byte for byte.

Each file is replaced whole, so a reader sees the old or the new one. Stopped at any point, the same command goes on.
What it cannot do: a Q-Former checkpoint that was trained on the image keeps what it learned, and images that lie in a
source's own folder or tars are not capfilt's to delete; it says where those are.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.dag.lineage import descendants
from pipeline.store import Store
from stages.contract import Output
from stages.errors import UserError
from stages.io.files import open_bytes, scratch_folder
from stages.io.shards import Artifact
from stages.kinds import KINDS
from stages.registry import STAGES
from stages.removal_files import without_blanks
from stages.removals import BLANKS, Removals, add_entries, is_entry, read_list, without_remark

READERS: Final = 8
"""Shards that are looked through at once."""
SUMS: Final = ("sha256", "md5")
"""The columns of the images table by which an image is known, whatever its address."""
_MARKS: Final = {"status": "removed", "error": "forgotten: it is on the removal list"}


@dataclass
class Forgotten:
    """What was done."""

    added: list[str] = field(default_factory=list)
    """What is new on the list: the entries given, and the URLs of images that were given by their hash."""
    rows: int = 0
    """Rows that are on the list, in all cut sources of the output."""
    images: int = 0
    """Stored images that were taken out."""
    tables: int = 0
    """Tables that were written anew."""
    odd: list[str] = field(default_factory=list)
    """What is said of lines of the list that name no image."""
    elsewhere: set[str] = field(default_factory=set)
    """Tars of the sources' own, in which such images still lie."""


@dataclass(frozen=True)
class _Folder:
    """What one stage made under one fingerprint."""

    kind: str
    url: str
    shards: frozenset[str]

    @staticmethod
    def at(store: Store, stage: str, url: str) -> _Folder:
        """What lies there."""
        return _Folder(STAGES[stage].writes, url, frozenset(store.committed(url)))


@dataclass(frozen=True)
class _Lineage:
    """A cut source and all that was ever made of it: a key means the same row in every table."""

    urls: _Folder
    made: tuple[_Folder, ...]

    @property
    def downloads(self) -> list[_Folder]:
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

    Raises:
        UserError: the list cannot be read, or nobody can tell what a folder of the output was made of.
    """
    done = Forgotten(added=add_entries(removal_list, entries))
    lineages = _lineages(store)
    if digests := Removals.of(read_list(removal_list).entries).digests:
        urls = map(without_blanks, _urls_of(store, lineages, digests))
        done.added += add_entries(removal_list, list(filter(is_entry, urls)))  # a list may call an image anything
    listed = read_list(removal_list)
    removals, done.odd = Removals.of(listed.entries), listed.odd
    for lineage in lineages:
        find = partial(_find, store, lineage, removals)
        for shard, keys in _of_shards(lineage, find):
            if len(keys):
                done.rows += len(keys)
                _clear(store, lineage, shard, keys, done)
    store.record_removals(_digest(listed.entries))
    return done


def apply_list(store: Store, removal_list: str | None) -> list[str]:
    """Clear the output of what is on the list, unless it has been cleared of this very list before.

    Returns:
        What is said of lines of the list that name no image.

    Raises:
        UserError: as `forget`.
    """
    if removal_list is None:
        return []
    listed = read_list(removal_list)
    if _digest(listed.entries) != store.removals():
        forget(store, removal_list, ())
    return listed.odd


def _digest(entries: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(entries).encode()).hexdigest()


def _lineages(store: Store) -> list[_Lineage]:
    """Everything in the output that has keys, by the cut source that the keys are of."""
    return [
        _Lineage(
            _Folder.at(store, stage, store.folder(stage, cut)),
            tuple(_Folder.at(store, made.stage, made.url) for made in descendants(store, cut) if not made.at_once),
        )
        for stage, spec in STAGES.items()
        if spec.grain == "file"
        for cut in store.fingerprints(stage)
    ]


def _of_shards(lineage: _Lineage, look: Callable[[str], Any]) -> Iterator[tuple[str, Any]]:
    """What `look` finds in every shard of a lineage."""
    shards = sorted(lineage.urls.shards)
    with ThreadPoolExecutor(READERS) as pool:
        yield from zip(shards, pool.map(look, shards), strict=True)


def _urls_of(store: Store, lineages: Sequence[_Lineage], digests: Collection[str]) -> list[str]:
    """The URLs under which images of these sums were found."""
    wanted = pa.array(sorted(digests), pa.string())
    looks = [(lineage, partial(_urls_in, store, lineage, wanted)) for lineage in lineages]
    return [url for lineage, look in looks for _, urls in _of_shards(lineage, look) for url in urls]


def _urls_in(store: Store, lineage: _Lineage, digests: pa.Array, shard: str) -> list[str]:
    folders = [folder for folder in lineage.downloads if shard in folder.shards]
    tables = [store.artifact(folder.url, shard).table(["url", *SUMS]) for folder in folders]
    found = [table["url"].filter(pc.is_in(table[name], digests)).to_pylist() for table in tables for name in SUMS]
    return [url for urls in found for url in urls if url]


def _find(store: Store, lineage: _Lineage, removals: Removals, shard: str) -> pa.Array:
    """The keys of a shard's rows that are on the list."""
    urls = store.artifact(lineage.urls.url, shard).table(["key", "url"]).to_pydict()
    keys = {key for key, url in zip(urls["key"], urls["url"], strict=True) if removals.has_url(url)}
    for folder in lineage.downloads:
        if removals.digests and shard in folder.shards:
            images = store.artifact(folder.url, shard).table(["key", *SUMS]).to_pylist()
            keys |= {row["key"] for row in images if removals.has_content(*(row[name] for name in SUMS))}
    return pa.array(sorted(keys), pa.string())


def _clear(store: Store, lineage: _Lineage, shard: str, keys: pa.Array, done: Forgotten) -> None:
    """Take rows out of every artifact of a shard."""
    for folder in (*lineage.made, lineage.urls):
        if shard in folder.shards:
            _rewrite(store, folder, shard, keys, done)
        store.remove_strays(folder.url, shard)


def _rewrite(store: Store, folder: _Folder, shard: str, keys: pa.Array, done: Forgotten) -> None:
    artifact = store.artifact(folder.url, shard)
    before, metadata = artifact.table(), artifact.metadata()
    hit = pc.is_in(before["key"], keys)
    kept = KINDS[folder.kind].kept
    after = before.filter(pc.invert(hit)) if kept is None else _blank(before, hit, kept)
    if after.equals(before):
        return
    done.tables += 1
    links = _sides(metadata, linked=True)
    if folder.kind == "images" and (images := _count_images(before.filter(hit))):
        done.images += images
        done.elsewhere.update(links.values())
    with scratch_folder() as scratch:
        sides = _copy_sides(artifact, _sides(metadata, linked=False), set(keys.to_pylist()), scratch)
        own = {name: value for name, value in metadata.items() if name != "attempt" and not name.startswith("side.")}
        done_again = Output(after, sides=sides, links=links)
        store.commit(folder.url, shard, done_again, own, instead_of=metadata["attempt"])


def _count_images(rows: pa.Table) -> int:
    return int(pc.sum(pc.equal(rows["status"], "success")).as_py() or 0)


def _blank(table: pa.Table, hit: pa.ChunkedArray, kept: Sequence[str]) -> pa.Table:
    """The table with nothing left in the rows hit but the columns kept, and what marks them."""
    columns = [
        table[field.name]
        if field.name in kept
        else pc.if_else(hit, pa.scalar(_MARKS.get(field.name), field.type), table[field.name])
        for field in table.schema
    ]
    return pa.Table.from_arrays(columns, schema=table.schema)


def _sides(metadata: dict[str, str], *, linked: bool) -> dict[str, str]:
    """The side files that a table names, by ending: those that lie elsewhere, or those of its own."""
    named = {name[len("side.") :]: value for name, value in metadata.items() if name.startswith("side.")}
    return {ending: value for ending, value in named.items() if ("/" in value) == linked}


def _copy_sides(artifact: Artifact, sides: Collection[str], keys: set[str], scratch: Path) -> dict[str, Path]:
    copies = {ending: scratch / f"side.{ending}" for ending in sides}
    for ending, copy in copies.items():
        _copy_tar(artifact.side(ending), copy, keys)
    return copies


def _copy_tar(source: str, target: Path, without: set[str]) -> None:
    """Copy a WebDataset tar but for the samples of some keys; what is copied is the same, byte for byte."""
    with (
        open_bytes(source) as file,
        tarfile.open(fileobj=file, mode="r|") as old,
        tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as new,
    ):
        for member in old:
            if member.name.partition(".")[0] not in without:
                new.addfile(member, old.extractfile(member))
