"""Files on any fsspec filesystem: finding them, opening them, and saying whose fault it is when one is broken."""

from __future__ import annotations

import contextlib
import glob
import gzip
import lzma
import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from functools import partial
from itertools import islice
from typing import IO, Any, Literal

import pyarrow as pa
from braceexpand import braceexpand
from fsspec.core import has_magic
from fsspec.implementations.local import LocalFileSystem

from stages.errors import BrokenFileError, UserError
from stages.io import tars
from stages.io.files import locate
from stages.urls.unpack import as_text, unpack
from stages.words import first_line

Files = tuple[str, ...]
"""The files of one part: local paths or fsspec URLs."""

_TOLD = (
    EOFError,
    OSError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    tarfile.TarError,
    pa.ArrowInvalid,
    UnicodeDecodeError,
)
"""What says in words that people understand what is wrong with a file."""
OF_THE_FILE = (
    EOFError,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    tarfile.TarError,
    pa.ArrowException,
    PermissionError,
    FileNotFoundError,  # a link that leads nowhere: what was found and is gone
    # and whatever else strangers' bytes make a library stumble over
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What reading a damaged file raises. Network and disk errors are not among them: a retry may help there."""
AT_ONCE = 16
"""Files that are looked at side by side: on an object store each costs a few round trips."""
MOST = 1_000_000
"""Files that a path with braces may name."""
_MARK = re.compile(r"_SUCCESS|_metadata|_common_metadata|_delta_log|_temporary|_(committed|started)_.*|__MACOSX")
"""What Spark, its relatives and Macs write beside data."""
_RANGE = re.compile(r"\{(-?\d+)\.\.(-?\d+)")


def filesystem(path: str) -> tuple[Any, str]:
    """Return the filesystem of a path or URL and the path on it.

    Raises:
        UserError: the URL's protocol is unknown, or its driver is not installed.
    """
    try:
        return locate(path)
    except (ValueError, ImportError) as error:
        raise UserError(f"{path}: {first_line(error)}") from error


def find(path: str, folder_glob: str | tuple[str, ...] | None) -> list[str]:
    """Return the files that a path, a glob or a folder stands for, sorted by name, as absolute paths or URLs.

    A folder stands for the files in it that match one of `folder_glob`, in upper or lower case, and for those below its
    folders called `name=value` (`stages.urls.partitions`). What Spark and Macs leave beside files is passed over.

    Braces are a shell's: `{00000..00009}.tar` and `{train,val}.csv` name several paths, whose order is that in the
    braces. As in a shell, a glob does not match names that begin with a dot, such as the `._0.tar` of a Mac.

    Raises:
        UserError: the path is a folder and `folder_glob` is None; or one of the paths that braces name is not there.
    """
    files, inner = filesystem(path)
    if files.isfile(inner):  # before globbing: a name may hold brackets, a URL a question mark
        return [_absolute(files, inner)]
    if files.isdir(inner):
        if folder_glob is None:
            raise UserError(f"{path} is a folder; name the files in it, as in {path.rstrip('/')}/*")
        globs = (folder_glob,) if isinstance(folder_glob, str) else folder_glob
        return sorted(_absolute(files, name) for name in _in_folder(files, inner.rstrip("/"), globs))
    if (named := _expand(path)) != [path]:
        return _find_all(path, named, folder_glob)
    return sorted(_absolute(files, name) for name in _matches(files, inner)) if has_magic(inner) else []


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
    fixed = len(pattern[: re.search(r"[*?[]", pattern).start()].rpartition("/")[0])  # type: ignore[union-attr]
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
    yield from (name for name, info in files.glob(pattern, detail=True).items() if info["type"] == "file")


def _absolute(files: Any, inner: str) -> str:
    return inner if isinstance(files, LocalFileSystem) else str(files.unstrip_protocol(inner))


@contextlib.contextmanager
def open_binary(path: str, *, caching: Literal["none", "readahead"] = "none") -> Iterator[IO[bytes]]:
    """Open a file as it is.

    Args:
        path: the file.
        caching: on a remote filesystem, `none` for a reader that buffers itself and jumps, `readahead` for one that
            takes small steps forward.

    Raises:
        UserError: a web server that sends whole files only was asked for a piece of one.
    """
    files, inner = filesystem(path)
    with files.open(inner, "rb", cache_type=caching) as file:
        try:
            yield file
        except ValueError as error:
            if "range requests" not in str(error):
                raise
            raise UserError(f"{path}: its server sends whole files only; copy it to a disk or a bucket first") from None


@contextlib.contextmanager
def open_tar(path: str) -> Iterator[tarfile.TarFile]:
    """Open a tar so that members can be passed over without reading them.

    Raises:
        BrokenFileError: it is none, or is found to be damaged while it is open.
    """
    with (
        reading((path,)),
        open_binary(path, caching="readahead") as file,
        tars.open_tar(file, "r:*") as archive,
    ):
        yield archive


@contextlib.contextmanager
def open_text(path: str) -> Iterator[IO[str]]:
    r"""Open a text file, packed or not (`stages.urls.unpack`). `\n` ends a line; bytes that are no text stay visible.

    Raises:
        UserError: it is empty.
    """
    files, inner = filesystem(path)
    with contextlib.ExitStack() as stack:
        content = unpack(stack.enter_context(files.open(inner, "rb")), path, stack)
        yield stack.enter_context(as_text(content))


@contextlib.contextmanager
def reading(files: Files) -> Iterator[None]:
    """Turn whatever a damaged file raises into a `BrokenFileError` that names it.

    Raises:
        BrokenFileError: it cannot be read.
        OSError: a disk or the network is out of order.
    """
    try:
        yield
    except MemoryError:
        raise
    except (*OF_THE_FILE, OSError) as error:
        if not isinstance(error, OF_THE_FILE) and not _is_of_codec(error):
            raise
        kind = "" if isinstance(error, _TOLD) else f"{type(error).__name__}: "
        why = f"{kind}{first_line(error)}"
        raise BrokenFileError(f"{' / '.join(files)} cannot be read: {why}; is it complete?") from error


def _is_of_codec(error: BaseException) -> bool:
    """Whether a codec cannot make sense of some bytes: what comes of a disk or the network has a number."""
    return type(error) is OSError and error.errno is None
