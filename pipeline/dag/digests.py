"""Digests of files, taken once: a file whose path, size and time are what they were is not read again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fsspec.implementations.local import LocalFileSystem

from stages.io.files import locate

_TIMES: Final = ("mtime", "ETag", "etag", "LastModified", "last_modified", "updated", "generation")
"""What filesystems call the time, or the version, of a file."""


class Digests:
    """Digests that are known, and those that were asked for.

    Args:
        known: by what `stamp` says of files.
    """

    def __init__(self, known: Mapping[str, str] | None = None) -> None:
        self._known = known or {}
        self.asked: dict[str, str] = {}
        """All that were asked for, to be known the next time."""

    def of(self, files: Sequence[str], meant: str, find: Callable[[], str]) -> str:
        """The digest of files.

        Args:
            files: local paths, or fsspec URLs; a folder stands for all files below it.
            meant: what else the digest depends on.
            find: reads the files.

        Raises:
            OSError: a file cannot be read, or whatever `find` raises.
        """
        mark = stamp(files, meant)
        if mark is None:
            return find()
        self.asked[mark] = found = self._known.get(mark) or find()
        return found


def stamp(files: Sequence[str], meant: str) -> str | None:
    """What stands for the present state of files; None where nothing tells one state from another."""
    states = [state for file in files for state in _states(file)]
    if any(None in state for state in states):
        return None
    return hashlib.sha256(json.dumps([meant, states], default=str).encode()).hexdigest()[:32]


def _states(file: str) -> Iterator[tuple[Any, ...]]:
    """Path, size and time of a file, or of all files of a folder; None for what cannot be told."""
    try:
        filesystem, path = locate(file)
        if isinstance(filesystem, LocalFileSystem):
            yield from _local(Path(path))
        else:
            info = filesystem.info(path)
            yield file, info.get("size"), next((info[name] for name in _TIMES if info.get(name)), None)
    except (OSError, ValueError, ImportError):
        yield file, None, None


def _local(path: Path) -> Iterator[tuple[Any, ...]]:
    for file in sorted(found for found in path.rglob("*") if found.is_file()) if path.is_dir() else [path]:
        state = file.stat()
        yield str(file), state.st_size, state.st_mtime_ns
