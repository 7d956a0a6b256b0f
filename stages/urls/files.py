"""Files on any fsspec filesystem: finding them, opening them, and saying whose fault it is when one is broken."""

from __future__ import annotations

import contextlib
import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any, Literal

import pyarrow as pa
from fsspec.core import has_magic, url_to_fs

from stages.errors import UserError
from stages.urls.unpack import as_text, unpack

Files = tuple[str, ...]
"""The files of one part: local paths or fsspec URLs."""

BROKEN = (
    EOFError,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    zipfile.BadZipFile,
    tarfile.TarError,
    pa.ArrowInvalid,
    UnicodeDecodeError,
)
"""What reading a damaged file raises. Network and disk errors are not among them: a retry may help there."""


def filesystem(path: str) -> tuple[Any, str]:
    """Return the filesystem of a path or URL and the path on it.

    Raises:
        UserError: the URL's protocol is unknown, or its driver is not installed.
    """
    try:
        filesystem, inner = url_to_fs(path)
    except (ValueError, ImportError) as error:
        raise UserError(f"{path}: {first_line(error)}") from error
    return filesystem, inner


def find(path: str, folder_glob: str | None) -> list[str]:
    """Return the files that a path, a glob or a folder stands for, sorted by name, as absolute paths or URLs.

    Raises:
        UserError: the path is a folder and `folder_glob` is None.
    """
    files, inner = filesystem(path)
    if files.isfile(inner):  # before globbing: a name may hold brackets, a URL a question mark
        return [_absolute(files, inner)]
    if not has_magic(inner):
        if not files.isdir(inner):
            return []
        if folder_glob is None:
            raise UserError(f"{path} is a folder; name the files in it, as in {path.rstrip('/')}/*")
        inner = f"{inner.rstrip('/')}/{folder_glob}"
    found = files.glob(inner, detail=True)
    return sorted(_absolute(files, name) for name, info in found.items() if info["type"] == "file")


def _absolute(files: Any, inner: str) -> str:
    local = "file" in (files.protocol if isinstance(files.protocol, tuple) else (files.protocol,))
    return inner if local else str(files.unstrip_protocol(inner))


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
    """Open a tar so that members can be passed over without reading them."""
    with open_binary(path, caching="readahead") as file, tarfile.open(fileobj=file, mode="r:*") as archive:
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
    """Turn what a damaged file raises into a `UserError` that names it."""
    try:
        yield
    except BROKEN as error:
        raise _broken(files, error) from error
    except OSError as error:
        if type(error) is not OSError or error.errno is not None:
            raise
        raise _broken(files, error) from error  # a codec's: nothing of a disk or a network has no number


def _broken(files: Files, error: BaseException) -> UserError:
    return UserError(f"{' / '.join(files)} cannot be read: {first_line(error)}; is it complete?")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its kind where it has none."""
    return next(iter(str(error).splitlines()), type(error).__name__)
