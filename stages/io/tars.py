r"""Tars as anybody wrote them, packed or not: the same members under the same names, whoever reads them.

A name that is no UTF-8 is one here, its odd bytes written as `\xff`, so that a table can hold it and the next stage
finds the member by it. Links are not followed, nor are devices opened; of several files of one name the first counts.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from typing import IO, Any, Literal, NamedTuple, TypeAlias

ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
"""How the names of tars end."""
BLOCK = 512
"""Bytes in which a tar counts."""
CHUNK = 1 << 20
Mode: TypeAlias = Literal["r:", "r:*", "r|*"]
"""Uncompressed; compressed or not; the same, and it can only be read on, never back."""


def is_tar(name: str) -> bool:
    """Whether a file is a tar by its name."""
    return name.lower().endswith(ENDINGS)


def stem(name: str) -> str:
    """The name of a tar without its ending."""
    return name[: -next(len(ending) for ending in ENDINGS if name.lower().endswith(ending))]


def is_packed(name: str) -> bool:
    """Whether a tar is compressed by its name: then no piece of it can be read without all that lies before."""
    return not name.lower().endswith(".tar")


@contextmanager
def open_tar(file: IO[bytes], mode: Mode) -> Iterator[tarfile.TarFile]:
    """Open a tar.

    Raises:
        tarfile.ReadError: it is none.
    """
    with _opened(file, mode) as archive:
        yield archive


def _opened(file: IO[bytes], mode: Mode) -> tarfile.TarFile:
    begin = b"?"
    if mode != "r|*":
        begin = file.read(BLOCK)
        file.seek(0)
    options: dict[str, Any] = {
        "mode": mode,
        "tarinfo": _remembering(),
        "encoding": "utf-8",
        "errors": "backslashreplace",
    }
    try:
        return tarfile.open(fileobj=file, **options)
    except tarfile.ReadError:
        what = f"no tar: it begins with {begin[:16]!r}" if begin else "empty"
        raise tarfile.ReadError(f"it is {what}") from None


def members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield every member of an archive that was just opened, holding none of them.

    Raises:
        tarfile.ReadError: the archive is cut off or damaged, or goes on behind its end.
    """
    yield from _headers(archive)
    _check_end(archive)


def _headers(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield what the standard library takes for members, up to what it takes for the end."""
    for member in archive:
        _drop(archive)
        if member.size < 0:
            raise tarfile.ReadError(f"the size of {member.name!r} is negative")
        yield member


class File(NamedTuple):
    """A file in an archive, not read yet."""

    name: str
    size: int
    """In bytes, as its header says."""
    read: Callable[[], bytes]
    """Returns the content; to be called before the next file is asked for."""


def is_file(member: tarfile.TarInfo) -> bool:
    """Whether a member holds its content itself, in one piece."""
    return member.isreg() and not member.issparse()


def read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """Return the content of a member for which `is_file` holds."""
    content = archive.extractfile(member)
    assert content is not None, member.name
    return content.read()


def files(archive: tarfile.TarFile, wanted: Collection[str]) -> Iterator[File]:
    """Yield the wanted files of an archive that was just opened, each name once, in its order.

    What lies behind the last of them is not looked at.

    Raises:
        tarfile.ReadError: the archive is cut off or damaged before all were found, which may hold those that were not.
    """
    left = set(wanted)
    for member in _headers(archive) if left else ():
        if member.name in left and is_file(member):
            left.remove(member.name)
            yield File(member.name, member.size, partial(read, archive, member))
        if not left:
            return
    if left:
        _check_end(archive)


def _drop(archive: tarfile.TarFile) -> None:
    """Let go of the headers that were read: the standard library keeps them all."""
    archive.members = []  # type: ignore[attr-defined]


def _remembering() -> type[tarfile.TarInfo]:
    """Return a kind of header that knows the last block which was taken for one; what ends an archive is such a block.

    The standard library ends at a damaged header as it does at the end mark, and says nothing.
    """

    class Header(tarfile.TarInfo):
        block = b""

        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Header:
            Header.block = bytes(buf)
            return super().frombuf(buf, encoding, errors)

    return Header


def _check_end(archive: tarfile.TarFile) -> None:
    block: bytes = archive.tarinfo.block  # type: ignore[attr-defined]  # see `_remembering`
    if len(block) < BLOCK:
        raise tarfile.ReadError("it was cut off, or its writer died: the two empty blocks at its end are missing")
    if block.strip(b"\0"):
        raise tarfile.ReadError("what follows one of its members is no header")
    assert archive.fileobj is not None
    while chunk := archive.fileobj.read(CHUNK):
        if chunk.strip(b"\0"):
            raise tarfile.ReadError("it goes on behind its end mark, as tars do that were put together with cat")
