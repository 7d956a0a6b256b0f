"""The folder or bucket that an output lies in, on any fsspec filesystem: whether it can be reached, and what it holds.

<output>/<stage>/<fingerprint>/...      what stages have made (`store.py`)
<output>/graphs/<manifest>.json         what the latest run of a manifest was (`dag/stored.py`)
<output>/runs/<host>-<process>.json     how far a run is that is under way (`watch/runs.py`)
<output>/exports/<number>.json          what was exported, and where to (`export/remembered.py`)
<output>/removals.json                  which removal list the tables have been cleared of (`upkeep/forget.py`)
<output>/catalog.duckdb                 the views (`sql/catalog.py`)
"""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import fsspec
from fsspec.implementations.local import LocalFileSystem

from stages.errors import DamagedError, UserError
from stages.io.files import LOCAL, absolute, locate
from stages.io.outages import patiently
from stages.io.places import why_no_place

FOREIGN = "._"
"""How the files begin that macOS puts beside each one when it copies to another system's disk."""


@dataclass(frozen=True)
class Root:
    """Where an output lies. Picklable: a worker opens the filesystem on its own side."""

    root: str
    """A local folder (absolute) or an fsspec URL, without a trailing slash."""

    @classmethod
    def open(cls, output: str) -> Self:
        """What lies at `output`, a local path or an fsspec URL."""
        path = next((output.removeprefix(prefix) for prefix in LOCAL if output.startswith(prefix)), "")
        return cls(absolute(path or output).rstrip("/"))  # workers and DuckDB take a path for what it is

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

    def __reduce__(self) -> tuple[type[Self], tuple[str]]:
        return type(self), (self.root,)

    def names(self, folder: str) -> list[str]:
        """The names of what lies in a folder, sorted; nothing where there is none."""
        try:
            found = patiently(lambda: self._listed(folder))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except PermissionError:
            raise UserError(f"output: {folder} may not be read; check its permissions") from None
        return sorted(name for name in found if not name.startswith(FOREIGN))

    def _listed(self, folder: str) -> list[str]:
        """The names of what lies in a folder; of a local one without fsspec, which takes each path to pieces."""
        if self.is_local:
            return os.listdir(folder)  # noqa: PTH208 - names are wanted
        paths = self.filesystem.ls(folder, detail=False, refresh=True)
        return [str(path).rstrip("/").rsplit("/", 1)[-1] for path in paths]

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


def _refuse_file(folder: Path) -> None:
    """See that no file stands where a folder is wanted."""
    there = next((path for path in (folder, *folder.parents) if path.exists()), None)
    if there and not there.is_dir():
        raise UserError(f"output: {there} is a file; name a folder")
