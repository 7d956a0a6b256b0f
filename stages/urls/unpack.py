"""What is inside a file, told by its first bytes and not by its name: is it packed, and in which encoding is it?"""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import io
import lzma
import re
import tarfile
import zipfile
from collections.abc import Callable
from typing import IO, Any

import pyarrow as pa

from stages.errors import BrokenFileError, UserError
from stages.io import tars

HEAD_BYTES = 1 << 16
"""What is looked at of a file's beginning."""
USTAR = slice(257, 262)

ENCODINGS = (
    (codecs.BOM_UTF8, "utf-8", "surrogateescape"),
    (codecs.BOM_UTF32_LE, "utf-32", "replace"),
    (codecs.BOM_UTF32_BE, "utf-32", "replace"),
    (codecs.BOM_UTF16_LE, "utf-16", "replace"),
    (codecs.BOM_UTF16_BE, "utf-16", "replace"),
)
"""Byte order mark, encoding, and what becomes of bytes that are none of it."""

CODECS: dict[bytes, Callable[[Any], Any]] = {
    rb"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file, mode="rb"),
    rb"\x28\xb5\x2f\xfd": lambda file: pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd"),
    rb"\xfd7zXZ\0": lzma.LZMAFile,
    rb"BZh[1-9](1AY&SY|\x17rE8P\x90)": bz2.BZ2File,
}
"""How a compressed file begins, and what reads it."""
LAYERS = 8
"""How often a file may be packed; there are some that unpack to themselves for ever."""


def unpack(file: Any, path: str, stack: contextlib.ExitStack) -> io.BufferedReader:
    """Return the content of a file that may be packed: gzip, bzip2, xz, Zstandard, zip, or a tar with one .json in it.

    Args:
        file: the open file.
        path: its name, for messages.
        stack: closes what is opened on the way.

    Raises:
        BrokenFileError: there is nothing in it, or it is packed again and again.
        UserError: it is an archive without one file that could be meant.
    """
    content = stack.enter_context(io.BufferedReader(file, HEAD_BYTES))
    layers = 0
    while (inner := _inner(content, path, stack)) is not None:
        layers += 1
        if layers > LAYERS:
            raise BrokenFileError(f"{path} is packed more than {LAYERS} times; unpack it, or take it out of `path`")
        content = stack.enter_context(io.BufferedReader(inner, HEAD_BYTES))
    if not content.peek():
        raise BrokenFileError(f"{path} is empty; fetch it anew, or take it out of `path`")
    return content


def _inner(content: io.BufferedReader, path: str, stack: contextlib.ExitStack) -> Any:
    """Open what is packed in a file; None where nothing is."""
    head = content.peek()
    for start, open_ in CODECS.items():
        if re.match(start, head):
            return open_(content)
    if head.startswith(b"PK\3\4"):
        return _zipped(path, stack.enter_context(zipfile.ZipFile(content)))
    if head[USTAR] == b"ustar":
        return _json_member(path, stack.enter_context(tars.open_tar(content, "r:*")))
    return None


def _zipped(path: str, archive: zipfile.ZipFile) -> IO[bytes]:
    names = [name for name in archive.namelist() if not name.startswith("__MACOSX/") and not name.endswith("/")]
    if len(names) != 1:
        raise UserError(f"{path} holds {len(names)} files; unpack it and name the one that is the list")
    return archive.open(names[0])


def _json_member(path: str, archive: tarfile.TarFile) -> IO[bytes]:
    for member in archive:
        if member.isfile() and member.name.endswith(".json"):
            content = archive.extractfile(member)
            assert content is not None, member.name
            return content
    raise UserError(f"{path} holds no .json file")


def as_text(content: io.BufferedReader) -> io.TextIOWrapper:
    r"""Return unpacked content as text, without its byte order mark.

    `\n` ends a line, and in a file that has none `\r`, as old Macs wrote; both stay where they stand. UTF-8, unless a
    byte order mark says UTF-16 or UTF-32. Bytes that are no UTF-8 become lone surrogates, which
    `stages.urls.text.clean_text` knows.
    """
    head = content.peek()
    encoding, errors = "utf-8", "surrogateescape"
    for mark, name, otherwise in ENCODINGS:
        if head.startswith(mark):
            encoding, errors = name, otherwise
            break
    newline = "\r" if b"\r" in head and b"\n" not in head else "\n"
    if encoding == "utf-8" and head.startswith(codecs.BOM_UTF8):
        content.read(len(codecs.BOM_UTF8))
    return io.TextIOWrapper(content, encoding, errors=errors, newline=newline)
