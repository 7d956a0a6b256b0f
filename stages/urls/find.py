"""Which files a path stands for, on any fsspec filesystem: itself, what lies in a folder, a glob, braces."""

from __future__ import annotations

import contextlib
import glob
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from functools import partial
from itertools import islice
from typing import Any

from braceexpand import braceexpand
from fsspec.core import has_magic
from fsspec.implementations.local import LocalFileSystem

from stages.errors import UserError
from stages.urls.files import filesystem
from stages.words import first_line

AT_ONCE = 16
"""Files that are looked at side by side: on an object store each costs a few round trips."""
MOST = 1_000_000
"""Files that a path with braces may name."""
_MARK = re.compile(r"_SUCCESS|_metadata|_common_metadata|_delta_log|_temporary|_(committed|started)_.*|__MACOSX")
"""What Spark, its relatives and Macs write beside data."""
_RANGE = re.compile(r"\{(-?\d+)\.\.(-?\d+)")
_MAGIC = re.compile(r"[*?[]")


def find(path: str, folder_glob: str | tuple[str, ...] | None) -> list[str]:
    """Return the files that a path, a glob or a folder stands for, sorted by name, as absolute paths or URLs.

    A folder stands for the files in it that match one of `folder_glob`, in upper or lower case, and for those below its
    folders called `name=value` (`stages.urls.partitions`). What Spark and Macs leave beside files is passed over.

    Braces are a shell's: `{00000..00009}.tar` and `{train,val}.csv` name several paths, whose order is that in the
    braces. As in a shell, a glob does not match names that begin with a dot, such as the `._0.tar` of a Mac.

    Raises:
        UserError: the path is a folder and `folder_glob` is None; one of the paths that braces name is not there; or
            nobody can look.
    """
    files, inner = filesystem(path)
    try:
        if (kind := _kind(files, inner)) == "file":  # before globbing: a name may hold brackets, a URL a question mark
            found = [inner]
        elif kind == "directory":
            found = list(_in_folder(files, inner.rstrip("/"), _globs_of(path, folder_glob)))
        elif (named := _expand(path)) != [path]:
            return _find_all(path, named, folder_glob)
        else:
            found = list(_matches(files, inner)) if has_magic(inner) else []
    except PermissionError as error:
        raise UserError(f"{path}: {first_line(error)}; check its permissions") from None
    except OSError as error:
        raise UserError(f"{path} cannot be looked at: {first_line(error)}") from None
    return sorted({_absolute(files, name) for name in found})


def _kind(files: Any, inner: str) -> str | None:
    """What lies there, "file" or "directory"; None for nothing."""
    if isinstance(files, LocalFileSystem):
        return "file" if files.isfile(inner) else "directory" if files.isdir(inner) else None
    try:
        return str(files.info(inner)["type"])  # what fsspec calls `isfile` takes every error for "no"
    except FileNotFoundError:
        return None


def _globs_of(path: str, folder_glob: str | tuple[str, ...] | None) -> tuple[str, ...]:
    if folder_glob is None:
        raise UserError(f"{path} is a folder; name the files in it, as in {path.rstrip('/')}/*")
    return (folder_glob,) if isinstance(folder_glob, str) else folder_glob


def _expand(path: str) -> list[str]:
    """Return what a path with braces stands for; the path itself where they are no pattern.

    Raises:
        UserError: a range names more files than anybody has.
    """
    for first, last in _RANGE.findall(path):
        if abs(int(last) - int(first)) >= MOST:  # the library makes a list of each
            raise UserError(f"{path} names {abs(int(last) - int(first)) + 1:,} files; correct the range")
    try:
        named = list(islice(braceexpand(path, escape=False), MOST + 1))
    except ValueError:  # a brace without its partner
        return [path]
    if len(named) > MOST:
        raise UserError(f"{path} names more than {MOST:,} files; correct its ranges")
    return named


def _find_all(path: str, named: list[str], folder_glob: str | tuple[str, ...] | None) -> list[str]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(partial(find, folder_glob=folder_glob), named))
    if missing := [name for name, files in zip(named, found, strict=True) if not files]:
        raise UserError(
            f"{path}: {len(missing)} of its {len(named)} files are not there, {missing[0]} first; correct it"
        )
    return [file for files in found for file in files]


def _in_folder(files: Any, folder: str, globs: tuple[str, ...]) -> Iterator[str]:
    for path, is_folder in _entries(files, folder):
        name = path.rpartition("/")[2]
        if not _is_hidden(name):
            if is_folder and "=" in name:
                yield from _in_folder(files, path, globs)
            elif not is_folder and any(fnmatchcase(name.lower(), pattern) for pattern in globs):
                yield path


def _entries(files: Any, folder: str) -> Iterator[tuple[str, bool]]:
    """Yield (path, whether it is a folder) of all that lies in a folder; a link counts as what it leads to."""
    if isinstance(files, LocalFileSystem):
        with os.scandir(folder or "/") as entries:
            yield from ((f"{folder}/{entry.name}", entry.is_dir()) for entry in entries)
        return
    for info in files.ls(folder, detail=True):
        if (path := info["name"].rstrip("/")) != folder:  # some stores list a folder in itself
            yield path, info["type"] == "directory"


def _is_hidden(name: str) -> bool:
    """Whether a file or folder is beside the data, not of it."""
    return name.startswith(".") or bool(_MARK.fullmatch(name))


def _matches(files: Any, pattern: str) -> Iterator[str]:
    """Yield the files that match; a link is what it leads to, and one that leads nowhere is a broken file."""
    fixed = len(pattern[: _MAGIC.search(pattern).start()].rpartition("/")[0])  # type: ignore[union-attr]
    asked = any(map(_is_hidden, pattern[fixed:].split("/")))
    for name in _globbed(files, pattern):
        if asked or not any(map(_is_hidden, name[fixed:].split("/"))):
            yield name


def _globbed(files: Any, pattern: str) -> Iterator[str]:
    if isinstance(files, LocalFileSystem):
        for name in glob.glob(pattern, recursive=True):  # noqa: PTH207  # fsspec passes over links
            if os.path.isfile(name) or not os.path.exists(name):  # noqa: PTH110, PTH113
                yield name
        return
    fixed = pattern[: _MAGIC.search(pattern).start()].rpartition("/")[0]  # type: ignore[union-attr]
    parts = pattern[len(fixed) :].lstrip("/").split("/")
    with contextlib.suppress(FileNotFoundError):
        yield from _below(files, list(_entries(files, fixed)), parts)


def _below(files: Any, entries: list[tuple[str, bool]], parts: list[str]) -> Iterator[str]:
    """Yield the files that match, of some entries and below them.

    fsspec's own glob passes over what it cannot list.

    Args:
        files: the filesystem.
        entries: (path, whether it is a folder) of what a folder holds.
        parts: the pattern of a name there, and of those in the folders below.
    """
    part, *rest = parts
    if part == "**":
        yield from _below(files, entries, rest or ["*"])
    for path, is_folder in entries:
        if is_folder and (part == "**" or (rest and fnmatchcase(path.rpartition("/")[2], part))):
            yield from _below(files, list(_entries(files, path)), parts if part == "**" else rest)
        elif not is_folder and not rest and part != "**" and fnmatchcase(path.rpartition("/")[2], part):
            yield path


def _absolute(files: Any, inner: str) -> str:
    return inner if isinstance(files, LocalFileSystem) else str(files.unstrip_protocol(inner))
