"""Files on any fsspec filesystem: finding them, opening them, and saying whose fault it is when one is broken."""

from __future__ import annotations

import contextlib
import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator
from typing import IO, Any, Literal

import pyarrow as pa
from fsspec.core import has_magic, url_to_fs

from stages.errors import UserError

Files = tuple[str, ...]
"""The files of one part: local paths or fsspec URLs."""

BROKEN = (EOFError, gzip.BadGzipFile, zlib.error, tarfile.TarError, pa.ArrowInvalid, UnicodeDecodeError)
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
    r"""Open a text file, .gz or not, or the first .json of a .tar.gz. Only `\n` ends a line; a BOM is skipped.

    Bytes that are no UTF-8 become U+FFFD: one odd caption among millions is no reason to stop.
    """
    files, inner = filesystem(path)
    with contextlib.ExitStack() as stack:
        content: Any
        if path.endswith((".tar.gz", ".tgz")):
            content = _member(path, stack.enter_context(open_tar(path)))
        else:
            content = stack.enter_context(files.open(inner, "rb", compression="infer"))
        yield stack.enter_context(io.TextIOWrapper(content, "utf-8-sig", errors="replace", newline="\n"))


def _member(path: str, archive: tarfile.TarFile) -> IO[bytes]:
    for member in archive:
        if member.isfile() and member.name.endswith(".json"):
            content = archive.extractfile(member)
            assert content is not None, member.name
            return content
    raise UserError(f"{path} holds no .json file")


@contextlib.contextmanager
def reading(files: Files) -> Iterator[None]:
    """Turn what a damaged file raises into a `UserError` that names it."""
    try:
        yield
    except BROKEN as error:
        raise UserError(f"{' / '.join(files)} cannot be read: {first_line(error)}; is it complete?") from error


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its kind where it has none."""
    return next(iter(str(error).splitlines()), type(error).__name__)
