"""One table of an output, and its tars, without the rows of some keys; what is damaged is told and stays as it is."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.store import TABLE, Store, file_of
from stages.contract import Output
from stages.errors import DamagedError
from stages.io import tars
from stages.io.files import open_bytes, scratch_folder
from stages.io.shards import Artifact, is_of_storage
from stages.kinds import KINDS
from stages.registry import STAGES

_ERROR: Final = "forgotten: it is on the removal list"


@dataclass(frozen=True)
class Folder:
    """What one stage made under one fingerprint."""

    kind: str
    url: str
    names: Mapping[str, Sequence[str]]
    """What lies there of each shard."""
    shards: frozenset[str]
    """Those that have a table."""

    @staticmethod
    def at(store: Store, stage: str, url: str) -> Folder:
        """What lies there."""
        names = store.names_by_shard(url)
        shards = frozenset(shard for shard, own in names.items() if file_of(shard) in own)
        return Folder(STAGES[stage].writes, url, names, shards)

    def table(self, shard: str) -> str:
        """Where a shard's table lies."""
        return f"{self.url}/{shard}{TABLE}"


@dataclass
class Cleared:
    """What was done."""

    images: int = 0
    """Stored images that were taken out."""
    tables: int = 0
    """Tables that were written anew."""
    elsewhere: set[str] = field(default_factory=set)
    """Tars of the sources' own, in which such images still lie."""


def clear(  # noqa: PLR0913 - what is cleared of what
    store: Store, folder: Folder, shard: str, keys: pa.Array, done: Cleared, *, texts: Collection[str] = ()
) -> None:
    """Take rows out of a shard's table and tars, and remove what killed attempts have left of it.

    Args:
        store: the output.
        folder: where they lie.
        shard: its name.
        keys: of the rows.
        done: takes note of it.
        texts: what people said of these images, which other images of the shard may have been given.

    Raises:
        BROKEN: something there is gone or broken; it is what it was.
    """
    if shard in folder.shards:
        _rewrite(store, folder, shard, keys, done, texts)
    store.remove_strays(folder.url, shard, folder.names.get(shard, ()))


def _rewrite(  # noqa: PLR0913, PLR0917 - as `clear`
    store: Store, folder: Folder, shard: str, keys: pa.Array, done: Cleared, texts: Collection[str]
) -> None:
    artifact = store.artifact(folder.url, shard)
    before, metadata = artifact.table(), artifact.metadata()
    hit = pc.is_in(before["key"], keys)
    kept = KINDS[folder.kind].kept
    after = before.filter(pc.invert(hit)) if kept is None else _blank(before, hit, kept)
    after = _without_texts(after, texts) if folder.kind == "captions" else after
    if after.equals(before):
        return
    links = _sides(metadata, linked=True)
    with scratch_folder() as scratch:
        made = {ending: make(after) for ending, make in KINDS[folder.kind].sides.items()}
        sides = _copy_sides(artifact, _sides(metadata, linked=False), set(keys.to_pylist()), made, scratch)
        own = {name: value for name, value in metadata.items() if name != "attempt" and not name.startswith("side.")}
        done_again = Output(after, sides=sides, links=links)
        store.commit(folder.url, shard, done_again, own, instead_of=metadata["attempt"])
    done.tables += 1
    if folder.kind == "images" and (images := _count_images(before.filter(hit))):
        done.images += images
        done.elsewhere.update(links.values())


def _count_images(rows: pa.Table) -> int:
    return int(pc.sum(pc.equal(rows["status"], "success")).as_py() or 0)


def _blank(table: pa.Table, hit: pa.ChunkedArray, kept: Sequence[str]) -> pa.Table:
    """The table with nothing left in the rows hit but the columns kept, and what marks them.

    Of an image that never came it stays known why: it was lost for that reason before anybody asked to forget it.
    """
    marks: dict[str, Any] = {"error": _ERROR, "caption": ""}
    if "status" in table.column_names:
        came = pc.equal(table["status"], "success")
        marks["status"] = pc.if_else(came, pa.scalar("removed", pa.string()), table["status"])
    columns = [
        table[field.name]
        if field.name in kept
        else pc.if_else(hit, _mark(marks.get(field.name), field.type), table[field.name])
        for field in table.schema
    ]
    return pa.Table.from_arrays(columns, schema=table.schema)


def _without_texts(captions: pa.Table, texts: Collection[str]) -> pa.Table:
    """The table with nothing left of texts that other images were given: the candidate stays, as its scores do."""
    hit = pc.and_(
        pc.equal(captions["origin"], "shuffled"), pc.is_in(captions["caption"], pa.array(sorted(texts), pa.string()))
    )
    return _blank(captions, hit, [name for name in captions.column_names if name not in {"caption", "error"}])


def _mark(value: Any, sort: pa.DataType) -> Any:
    return value if isinstance(value, pa.ChunkedArray) else pa.scalar(value, sort)


def _sides(metadata: dict[str, str], *, linked: bool) -> dict[str, str]:
    """The side files that a table names, by ending: those that lie elsewhere, or those of its own."""
    named = {name[len("side.") :]: value for name, value in metadata.items() if name.startswith("side.")}
    return {ending: value for ending, value in named.items() if ("/" in value) == linked}


def _copy_sides(
    artifact: Artifact, sides: Collection[str], keys: set[str], made: Mapping[str, bytes], scratch: Path
) -> dict[str, Path]:
    """The side files without some keys: `made` anew of the table, or copied."""
    copies = {ending: scratch / f"side.{ending}" for ending in sides}
    for ending, copy in copies.items():
        if ending in made:
            copy.write_bytes(made[ending])
            continue
        _copy_tar(artifact.side(ending), copy, keys, artifact.url)
    return copies


def _copy_tar(source: str, target: Path, without: set[str], table: str) -> None:
    """Copy a WebDataset tar but for the samples of some keys; what is copied is the same, byte for byte.

    Raises:
        DamagedError: it is not whole, so that a copy would be less than it.
        OSError: it cannot be read, or the copy cannot be written.
    """
    try:
        with (
            open_bytes(source) as file,
            tars.open_tar(file, "r|*") as old,
            tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as new,
        ):
            for member in tars.members(old):
                if member.name.partition(".")[0] not in without:
                    new.addfile(member, old.extractfile(member))
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        if is_of_storage(error):
            raise
        raise DamagedError(source, error, also=f" and {table}") from None
