"""Where an artifact lies and how it is committed, on any fsspec filesystem.

    <output>/<stage>/<fingerprint>/<shard>.parquet          the table; it is there <=> the shard is done
    <output>/<stage>/<fingerprint>/<shard>.<attempt>.tar    a side file, or a folder, named by the table's metadata
    <output>/<stage>/<fingerprint>/<shard>.failed.json      why the shard failed for good, until it is done
    <output>/<stage>/<fingerprint>/recipe.json              what was hashed into the fingerprint, for people
    <output>/<stage>/<fingerprint>/compacted...             the same rows in few large tables (`sql/compaction.py`)

A side file carries its attempt in its name and the table is written last, so two hosts that work the same shard at the
same time cannot mix: the first table to land stays, and names its own side file; the other host takes its own back.
"""

from __future__ import annotations

import io
import json
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.root import Root
from stages.contract import Output
from stages.errors import DamagedError
from stages.io.files import TEMPORARY, create_whole, is_there, put_whole, remove, write_whole
from stages.io.outages import patient, patiently
from stages.io.shards import Artifact

if TYPE_CHECKING:
    from pipeline.dag.graph import Node

TABLE = ".parquet"
FAILURE = ".failed.json"
SIDE = re.compile(r"(.+)\.[0-9a-f]{12}\..+")
FINGERPRINT = re.compile(r"[0-9a-f]{16}")
RECIPE = "recipe.json"
COMPACTED = "compacted"


def file_of(shard: str) -> str:
    """The name of a shard's table."""
    return f"{shard}{TABLE}"


class Store(Root):
    """The artifacts in the output of a manifest."""

    def folder(self, stage: str, fingerprint: str) -> str:
        """The folder of a stage's artifacts under one fingerprint."""
        return f"{self.root}/{stage}/{fingerprint}"

    def folder_of(self, node: Node) -> str:
        """The folder of a node's artifacts."""
        return self.folder(node.spec.name, node.fingerprint)

    def artifact(self, folder: str, shard: str, without: frozenset[str] = frozenset()) -> Artifact:
        """The artifact of a shard, committed or not, without the rows of some keys."""
        return Artifact(f"{folder}/{shard}{TABLE}", without)

    def fingerprints(self, stage: str) -> list[str]:
        """The fingerprints that `stage` has a folder for; what systems and people have left beside them is none."""
        return [name for name in self.names(f"{self.root}/{stage}") if FINGERPRINT.fullmatch(name)]

    def has_results(self, folder: str) -> bool:
        """Whether anything lies in a folder."""
        return bool(self.names(folder))

    def committed(self, folder: str) -> set[str]:
        """The shards whose table lies in `folder`."""
        return {name.removesuffix(TABLE) for name in self.names(folder) if name.endswith(TABLE)}

    def failures(self, folder: str) -> dict[str, dict[str, Any]]:
        """The shards that failed for good in the latest run that tried them: what `record_failure` wrote."""
        names = self.names(folder)
        failed, done = (
            {name.removesuffix(ending) for name in names if name.endswith(ending)} for ending in (FAILURE, TABLE)
        )
        found = {}
        for shard in sorted(failed - done):
            with suppress(FileNotFoundError):  # a run under way has done it since
                found[shard] = self.read_json(f"{folder}/{shard}{FAILURE}", "error", "attempts")
        return found

    def sides(self, folder: str, ending: str) -> dict[str, str]:
        """The locations of the side files with an ending that tables in a folder name, by shard."""
        names = set(self.names(folder))
        found = [side[1] for name in sorted(names) if name.endswith(f".{ending}") and (side := SIDE.fullmatch(name))]
        sides: dict[str, str] = {}
        for shard in found:
            with suppress(KeyError):  # its table names another attempt's, or none
                if f"{shard}{TABLE}" in names:
                    sides[shard] = self.artifact(folder, shard).side(ending)
        return sides

    def commit(
        self, folder: str, shard: str, output: Output, metadata: Mapping[str, str], *, instead_of: str | None = None
    ) -> None:
        """Write the side files, then the table. When the table is there the shard is done.

        Args:
            folder: where the shard's artifacts lie.
            shard: its name.
            output: what was made of it.
            metadata: what the table says of itself.
            instead_of: the attempt whose table this one takes the place of; None where there should be none yet. If
                another table lies there it stays, and this output is dropped: another host has done the same meanwhile.
        """
        attempt = uuid.uuid4().hex[:12]
        patiently(lambda: self.filesystem.makedirs(folder, exist_ok=True))
        own = {ending: f"{shard}.{attempt}.{ending}" for ending in output.sides}
        url = f"{folder}/{shard}{TABLE}"
        try:
            for ending, name in own.items():
                put_whole(output.sides[ending], f"{folder}/{name}")
        except BaseException:
            self._take_back(folder, own.values())
            raise
        sides = {f"side.{ending}": name for ending, name in {**output.links, **own}.items()}
        table = output.table.replace_schema_metadata({**metadata, "attempt": attempt, **sides})
        try:
            landed = self._land(url, _parquet(table), attempt, instead_of)
        except BaseException:
            if self.is_local and not is_there(url):  # elsewhere, a PUT without an answer may still arrive
                self._take_back(folder, own.values())
            raise
        if not landed:
            self._take_back(folder, own.values())
        if is_there(f"{folder}/{shard}{FAILURE}"):
            self._remove(f"{folder}/{shard}{FAILURE}")

    def _land(self, url: str, content: bytes, attempt: str, instead_of: str | None) -> bool:
        """Write the table; whether it is this attempt's that lies there now."""
        if instead_of is None:
            return create_whole(url, content) or Artifact(url).metadata()["attempt"] == attempt
        if Artifact(url).metadata()["attempt"] != instead_of:
            return False
        self._drop_compaction(url.rpartition("/")[0])
        write_whole(url, content)
        return True

    def remove(self, folder: str, shard: str, listed: Sequence[str] | None = None) -> None:
        """Remove a shard's table, if there is one, and then its side files: it is not done any more.

        Args:
            folder: where they lie.
            shard: its name.
            listed: as for `strays`.
        """
        url = f"{folder}/{shard}{TABLE}"
        if is_there(url):
            self._drop_compaction(folder)
            self._remove(url)
        self.remove_strays(folder, shard, listed)

    def compacted(self, folder: str) -> list[str]:
        """The names of the large tables below a folder, whether they count or not, or are whole or not."""
        return [name for name in self.names(f"{folder}/{COMPACTED}") if TABLE in name]

    def _drop_compaction(self, folder: str) -> None:
        """A table is about to change: its rows must not be read, nor lie, anywhere else."""
        with suppress(FileNotFoundError):
            self._remove(f"{folder}/{COMPACTED}.json")
        if self.compacted(folder):
            remove(f"{folder}/{COMPACTED}")

    def _take_back(self, folder: str, names: Iterable[str]) -> None:
        """Remove side files that no table names."""
        for name in names:
            with suppress(FileNotFoundError):
                self._remove_side(f"{folder}/{name}")

    def record_failure(self, folder: str, shard: str, failure: Mapping[str, Any]) -> None:
        """Say beside the tables why a shard has none."""
        write_whole(f"{folder}/{shard}{FAILURE}", json.dumps(failure, indent=1).encode())

    def record_recipe(self, folder: str, identity: Mapping[str, Any]) -> None:
        """Write what was hashed into the folder's fingerprint, once."""
        if not is_there(f"{folder}/{RECIPE}"):
            write_whole(f"{folder}/{RECIPE}", json.dumps(identity, indent=1, sort_keys=True).encode())

    def recipe(self, folder: str) -> dict[str, Any] | None:
        """What was hashed into the folder's fingerprint, None where nobody wrote it.

        Raises:
            DamagedError: it says something else.
        """
        url = f"{folder}/{RECIPE}"
        if not is_there(url):
            return None
        found = self.read_json(url, "source", "identity")
        identity = found["identity"] if isinstance(found["identity"], dict) else {}
        if not all(isinstance(identity.get(key), dict) for key in ("recipe", "inputs")):
            raise DamagedError(url, "it says nothing of a recipe and its inputs")
        return found

    def strays(self, folder: str, shard: str | None = None, listed: Sequence[str] | None = None) -> list[str]:
        """The names in a folder that nothing reads: what is not whole, and side files that no table names.

        Args:
            folder: any of the output's.
            shard: the one to look at; None for all.
            listed: what lies there of it, for who looks at shard after shard; None looks.
        """
        names = self.names(folder) if listed is None else listed
        there, found = set(names), [name for name in names if TEMPORARY.fullmatch(name) and shard is None]
        sides: dict[str, list[str]] = {}
        for name in names:
            if not TEMPORARY.fullmatch(name) and (side := SIDE.fullmatch(name)) and shard in (None, side[1]):
                sides.setdefault(side[1], []).append(name)
        for owner, own in sides.items():
            with suppress(DamagedError):  # whose they are cannot be told; whoever needs the table says so
                named = self._named(folder, owner) if f"{owner}{TABLE}" in there else frozenset()
                found += [name for name in own if name not in named]
        return found

    def _named(self, folder: str, shard: str) -> frozenset[str]:
        """What a shard's table says of itself, its side files' names among it; nothing where it has just gone."""
        try:
            return frozenset(self.artifact(folder, shard).metadata().values())
        except FileNotFoundError:
            return frozenset()

    def names_by_shard(self, folder: str) -> dict[str, list[str]]:
        """The names of the tables and side files in a folder, by shard."""
        found: dict[str, list[str]] = {}
        for name in self.names(folder):
            side = SIDE.fullmatch(name)
            if side or name.endswith(TABLE):
                found.setdefault(side[1] if side else name.removesuffix(TABLE), []).append(name)
        return found

    def remove_strays(self, folder: str, shard: str, listed: Sequence[str] | None = None) -> None:
        """Remove the side files of a shard that its table does not name: what attempts without a table left.

        Args:
            folder: where they lie.
            shard: whose they are.
            listed: as for `strays`.
        """
        self._take_back(folder, self.strays(folder, shard, listed))

    @patient
    def _remove(self, url: str) -> None:
        self.filesystem.rm_file(url)

    @patient
    def _remove_side(self, url: str) -> None:
        """A file, or a folder."""
        remove(url)


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    return buffer.getvalue()
