"""Where an artifact lies and how it is committed, on any fsspec filesystem.

    <output>/<stage>/<fingerprint>/<shard>.parquet          the table; it is there <=> the shard is done
    <output>/<stage>/<fingerprint>/<shard>.<attempt>.tar    a side file, or a folder, named by the table's metadata
    <output>/<stage>/<fingerprint>/<shard>.failed.json      why the shard failed for good, until it is done
    <output>/<stage>/<fingerprint>/recipe.json              what was hashed into the fingerprint, for people
    <output>/<stage>/<fingerprint>/compacted...             the same rows in few large tables (`sql/compaction.py`)
    <output>/runs/<host>-<process>.json                     how far a run is that is under way (`watch/monitor.py`)
    <output>/removals.json                                  which removal list the tables have been cleared of

A side file carries its attempt in its name and the table is written last, so two hosts that work the same shard at the
same time cannot mix: the first table to land stays, and names its own side file; the other host takes its own back.
"""

from __future__ import annotations

import io
import json
import re
import tempfile
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from stages.contract import Output
from stages.errors import DamagedError, UserError
from stages.io.files import LOCAL, TEMPORARY, absolute, create_whole, is_there, locate, put_whole, remove, write_whole
from stages.io.outages import patient, patiently
from stages.io.places import why_no_place
from stages.io.shards import Artifact

if TYPE_CHECKING:
    from pipeline.dag.graph import Node

TABLE = ".parquet"
FAILURE = ".failed.json"
SIDE = re.compile(r"(.+)\.[0-9a-f]{12}\..+")
FINGERPRINT = re.compile(r"[0-9a-f]{16}")
RECIPE = "recipe.json"
COMPACTED = "compacted"
RUNS = "runs"
REMOVALS = "removals.json"
FOREIGN = "._"
"""How the files begin that macOS puts beside each one when it copies to another system's disk."""


def file_of(shard: str) -> str:
    """The name of a shard's table."""
    return f"{shard}{TABLE}"


@dataclass(frozen=True)
class Store:
    """The output folder of a manifest. Picklable: a worker opens the filesystem on its own side."""

    root: str
    """A local folder (absolute) or an fsspec URL, without a trailing slash."""

    @staticmethod
    def open(output: str) -> Store:
        """A store at `output`, a local path or an fsspec URL."""
        path = next((output.removeprefix(prefix) for prefix in LOCAL if output.startswith(prefix)), "")
        return Store(absolute(path or output).rstrip("/"))  # workers and DuckDB take a path for what it is

    @cached_property
    def filesystem(self) -> fsspec.AbstractFileSystem:
        """What the output lies on.

        Raises:
            UserError: no such filesystem is installed.
        """
        try:
            return locate(self.root)[0]
        except ImportError as error:
            raise UserError(
                f"output: {self.root}: {error}; pip install 'capfilt[cloud]' brings s3fs and gcsfs"
            ) from None
        except ValueError as error:
            raise UserError(f"output: {self.root}: {error}") from None

    def reach(self) -> None:
        """See that the output can be read, or begun.

        Raises:
            UserError: it cannot: nothing is kept there, it is a file, no credentials, no such server, no permission; or
                DuckDB could not read it, or not write the catalog where temporary files go.
        """
        if why := why_no_place(self.root):
            raise UserError(f"output: {self.root}: {why}")
        if self.is_local and "\\" in self.root:
            raise UserError(f"output: {self.root}: DuckDB, which reads the tables, takes \\ for /; name another folder")
        if found := {"?", "\\"}.intersection(tempfile.gettempdir()):
            raise UserError(
                f"TMPDIR: {tempfile.gettempdir()}: DuckDB can write nothing below a folder with {found.pop()} in its "
                "name; set it to another one"
            )
        try:
            if self.is_local:
                _refuse_file(Path(self.root))
            self.probe()
        except UserError:
            raise
        except Exception as error:  # noqa: BLE001 - every kind of storage has errors of its own
            reason = str(error).partition("\n")[0] or type(error).__name__
            hint = "check its permissions" if self.is_local else "the address and the credentials in the environment"
            raise UserError(f"output: {self.root} cannot be reached ({reason}); check {hint}") from None

    def probe(self) -> None:
        """See that the output answers at all; what it raises says why not."""
        with suppress(FileNotFoundError, NotADirectoryError):
            self.filesystem.ls(self.root, refresh=True)

    @property
    def is_local(self) -> bool:
        """Whether a rename is atomic here; elsewhere one PUT is."""
        return isinstance(self.filesystem, LocalFileSystem)

    def __reduce__(self) -> tuple[type[Store], tuple[str]]:
        return Store, (self.root,)

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

    def remove_folder(self, folder: str) -> None:
        """Remove a folder and all below it, if it is there."""
        if is_there(folder):
            remove(folder)

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

    def record_removals(self, digest: str) -> None:
        """Write down which removal list the tables have been cleared of."""
        write_whole(f"{self.root}/{REMOVALS}", json.dumps({"sha256": digest}).encode())

    def removals(self) -> str | None:
        """Which removal list the tables have been cleared of, None if of none."""
        url = f"{self.root}/{REMOVALS}"
        return str(self.read_json(url, "sha256")["sha256"]) if is_there(url) else None

    def record_run(self, name: str, state: Mapping[str, Any]) -> None:
        """Say how far a run is that is under way."""
        write_whole(f"{self.root}/{RUNS}/{name}.json", json.dumps(state, indent=1).encode())

    def end_run(self, name: str) -> None:
        """It is under way no more."""
        with suppress(FileNotFoundError):
            self._remove(f"{self.root}/{RUNS}/{name}.json")

    def run_files(self) -> list[str]:
        """The locations of what runs under way have said, and of what killed ones have left."""
        return [f"{self.root}/{RUNS}/{name}" for name in self.names(f"{self.root}/{RUNS}") if name.endswith(".json")]

    def runs(self) -> list[dict[str, Any]]:
        """What runs have said of themselves that have not come to their end."""
        found = []
        for url in self.run_files():
            with suppress(FileNotFoundError):  # it has ended since
                found.append(self.read_json(url, "written", "process", "host", "started", "stages"))
        return found

    def read_json(self, url: str, *keys: str) -> dict[str, Any]:
        """A JSON object of the store's own, which has these keys.

        Raises:
            DamagedError: it is none.
            FileNotFoundError: it is not there.
        """
        content = patiently(lambda: self.filesystem.cat_file(url))
        try:
            found = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise DamagedError(url, error) from None
        if not isinstance(found, dict) or not found.keys() >= set(keys):
            raise DamagedError(url, f"it is no object with {', '.join(keys)}")
        return found

    @patient
    def _remove(self, url: str) -> None:
        self.filesystem.rm_file(url)

    @patient
    def _remove_side(self, url: str) -> None:
        """A file, or a folder."""
        remove(url)

    def names(self, folder: str) -> list[str]:
        """The names of what lies in a folder, sorted; nothing where there is none."""
        try:
            found = patiently(lambda: self.filesystem.ls(folder, detail=False, refresh=True))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except PermissionError:
            raise UserError(f"output: {folder} may not be read; check its permissions") from None
        names = (str(path).rstrip("/").rsplit("/", 1)[-1] for path in found)
        return sorted(name for name in names if not name.startswith(FOREIGN))


def _refuse_file(folder: Path) -> None:
    """See that no file stands where a folder is wanted."""
    there = next((path for path in (folder, *folder.parents) if path.exists()), None)
    if there and not there.is_dir():
        raise UserError(f"output: {there} is a file; name a folder")


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
