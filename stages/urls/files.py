"""Files on any fsspec filesystem: opening them, and saying whose fault it is when one is broken."""

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


def filesystem(path: str) -> tuple[Any, str]:
    """Return the filesystem of a path or URL and the path on it.

    Raises:
        UserError: the URL's protocol is unknown, or its driver is not installed.
    """
    try:
        return locate(path)
    except (ValueError, ImportError) as error:
        raise UserError(f"{path}: {first_line(error)}") from error


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
