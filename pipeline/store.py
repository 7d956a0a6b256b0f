"""Where an artifact lies and how it is committed, on any fsspec filesystem.

    <output>/<stage>/<fingerprint>/<shard>.parquet          the table; it is there <=> the shard is done
    <output>/<stage>/<fingerprint>/<shard>.<attempt>.tar    a side file, named by the table's metadata
    <output>/<stage>/<fingerprint>/<shard>.failed.json      why the shard failed for good, until it is done
    <output>/<stage>/<fingerprint>/recipe.json              what was hashed into the fingerprint, for people
    <output>/removals.json                                  which removal list the tables have been cleared of

A side file carries its attempt in its name and the table is written last, so two hosts that work the same shard at the
same time cannot mix: whichever table lands, it names its own side file.
"""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from stages.contract import Output
from stages.errors import UserError
from stages.files import write_whole
from stages.shards import Artifact

TABLE = ".parquet"
FAILURE = ".failed.json"
RECIPE = "recipe.json"
REMOVALS = "removals.json"


@dataclass(frozen=True)
class Store:
    """The output folder of a manifest. Picklable: a worker opens the filesystem on its own side."""

    root: str
    """A local folder (absolute) or an fsspec URL, without a trailing slash."""

    @staticmethod
    def open(output: str) -> Store:
        """A store at `output`, a local path or an fsspec URL."""
        local = "://" not in output
        return Store(str(Path(output).expanduser().absolute()) if local else output.rstrip("/"))

    @cached_property
    def _fs(self) -> fsspec.AbstractFileSystem:
        return fsspec.core.url_to_fs(self.root)[0]

    @property
    def is_local(self) -> bool:
        """Whether a rename is atomic here; elsewhere one PUT is."""
        return isinstance(self._fs, LocalFileSystem)

    def __reduce__(self) -> tuple[type[Store], tuple[str]]:
        return Store, (self.root,)

    def folder(self, stage: str, fingerprint: str) -> str:
        """The folder of a stage's artifacts under one fingerprint."""
        return f"{self.root}/{stage}/{fingerprint}"

    def artifact(self, folder: str, shard: str) -> Artifact:
        """The artifact of a shard, committed or not."""
        return Artifact(f"{folder}/{shard}{TABLE}")

    def fingerprints(self, stage: str) -> list[str]:
        """The fingerprints that `stage` has a folder for."""
        return self._names(f"{self.root}/{stage}")

    def committed(self, folder: str) -> set[str]:
        """The shards whose table lies in `folder`."""
        return {name.removesuffix(TABLE) for name in self._names(folder) if name.endswith(TABLE)}

    def failures(self, folder: str) -> dict[str, dict[str, Any]]:
        """The shards that failed for good in the latest run that tried them: what `record_failure` wrote."""
        names = self._names(folder)
        failed = {name.removesuffix(FAILURE) for name in names if name.endswith(FAILURE)}
        done = {name.removesuffix(TABLE) for name in names if name.endswith(TABLE)}
        return {shard: self.read_json(f"{folder}/{shard}{FAILURE}") for shard in sorted(failed - done)}

    def commit(self, folder: str, shard: str, output: Output, metadata: Mapping[str, str]) -> None:
        """Write the side files, then the table. When the table is there the shard is done."""
        attempt = uuid.uuid4().hex[:12]
        self._fs.makedirs(folder, exist_ok=True)
        named = {f"side.{ending}": url for ending, url in output.links.items()}
        for ending, path in output.sides.items():
            name = f"{shard}.{attempt}.{ending}"
            self._fs.put_file(str(path), f"{folder}/{name}")
            named[f"side.{ending}"] = name
        table = output.table.replace_schema_metadata({**metadata, "attempt": attempt, **named})
        write_whole(f"{folder}/{shard}{TABLE}", _parquet(table))
        if self._fs.exists(f"{folder}/{shard}{FAILURE}"):
            self._fs.rm_file(f"{folder}/{shard}{FAILURE}")

    def record_failure(self, folder: str, shard: str, failure: Mapping[str, Any]) -> None:
        """Say beside the tables why a shard has none."""
        write_whole(f"{folder}/{shard}{FAILURE}", json.dumps(failure, indent=1).encode())

    def record_recipe(self, folder: str, identity: Mapping[str, Any]) -> None:
        """Write what was hashed into the folder's fingerprint, once."""
        if not self._fs.exists(f"{folder}/{RECIPE}"):
            write_whole(f"{folder}/{RECIPE}", json.dumps(identity, indent=1, sort_keys=True).encode())

    def recipe(self, folder: str) -> dict[str, Any] | None:
        """What was hashed into the folder's fingerprint, None where nobody wrote it."""
        url = f"{folder}/{RECIPE}"
        return self.read_json(url) if self._fs.exists(url) else None

    def remove_strays(self, folder: str, shard: str, keep: Mapping[str, str]) -> None:
        """Remove the side files of a shard that its table does not name: what attempts without a table left.

        Args:
            folder: where the shard's artifacts lie.
            shard: its name.
            keep: the metadata of its table; none where it has no table.
        """
        named = {value for name, value in keep.items() if name.startswith("side.")}
        own = {f"{shard}{TABLE}", f"{shard}{FAILURE}", *named}
        for name in self._names(folder):
            if name.startswith(f"{shard}.") and name not in own:
                self._fs.rm_file(f"{folder}/{name}")

    def record_removals(self, digest: str) -> None:
        """Write down which removal list the tables have been cleared of."""
        write_whole(f"{self.root}/{REMOVALS}", json.dumps({"sha256": digest}).encode())

    def removals(self) -> str | None:
        """Which removal list the tables have been cleared of, None if of none."""
        url = f"{self.root}/{REMOVALS}"
        return str(self.read_json(url)["sha256"]) if self._fs.exists(url) else None

    def read_json(self, url: str) -> dict[str, Any]:
        """A JSON object of the store's own."""
        found: dict[str, Any] = json.loads(self._fs.cat_file(url))
        return found

    def _names(self, folder: str) -> list[str]:
        try:
            found = self._fs.ls(folder, detail=False, refresh=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except PermissionError:
            raise UserError(f"output: {folder} may not be read; check its permissions") from None
        return sorted(str(path).rstrip("/").rsplit("/", 1)[-1] for path in found)


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
