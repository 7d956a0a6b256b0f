"""What identifies a part: its content, never its path, so that a moved data set is the same one."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Iterable
from typing import IO

from stages.errors import BrokenFileError
from stages.io import tars
from stages.urls.files import Files, open_binary, open_tar, reading
from stages.urls.partitions import asked_partitions
from stages.urls.settings import SourceSettings
from stages.urls.spec import LaionSource, ParquetSource, WebDatasetSource

CHUNK_BYTES = 1 << 20
PARQUET_END = b"PAR1"


def digest(source: SourceSettings, files: Files, folder: str = "") -> str:
    """Return the sha256 of a part's content, in hex.

    A Parquet file stands for itself by its size and footer, which holds the offset, size and statistics of every column
    chunk; an img2dataset tar by its size and the Parquet table beside it, or else by its members' names, sizes and
    times. So terabytes need not be read. Any other file is hashed whole. What the source asks of the names of folders
    (`stages.urls.partitions`) counts too.

    Args:
        source: whose part.
        files: its files.
        folder: where they lie below the folder of the source's images. There it is part of the rows, as is the name.

    Raises:
        BrokenFileError: a file is not whole, or may not be read.
        OSError: a disk or the network is out of order.
    """
    found = hashlib.sha256()
    if isinstance(source, WebDatasetSource):
        found.update(f"{folder}{files[0].rpartition('/')[2]}\0".encode())
    for file in files:
        with reading((file,)):
            for piece in _identity(source, file, alone=len(files) == 1):
                found.update(piece)
        found.update(b"\0")
    if asked := asked_partitions(files[0], source):
        found.update(json.dumps(asked, sort_keys=True).encode())
    return found.hexdigest()


def _identity(source: SourceSettings, file: str, *, alone: bool) -> Iterable[bytes]:
    if isinstance(source, WebDatasetSource) and tars.is_tar(file):
        return _tar_index(file) if alone else _size(file)
    if isinstance(source, WebDatasetSource | LaionSource | ParquetSource):
        return _footer(file)
    return _content(file)


def _content(path: str) -> Iterable[bytes]:
    with open_binary(path, caching="readahead") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _footer(path: str) -> Iterable[bytes]:
    with open_binary(path) as file:
        size = file.seek(0, os.SEEK_END)
        end = _read_at(file, max(0, size - 8), 8)
        if end[4:] != PARQUET_END:
            raise BrokenFileError(f"{path} is no complete Parquet file: its last bytes are not PAR1; fetch it anew")
        length = int.from_bytes(end[:4], "little")
        if length > size - len(PARQUET_END) - len(end):
            raise BrokenFileError(f"{path} is no complete Parquet file: its footer is longer than it; fetch it anew")
        yield str(size).encode()
        file.seek(size - len(end) - length)
        while length and (chunk := file.read(min(length, CHUNK_BYTES))):
            length -= len(chunk)
            yield chunk


def _read_at(file: IO[bytes], offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(length)


def _size(path: str) -> Iterable[bytes]:
    """Yield a tar's size; whether it has an end, so that it is not what a download has left, costs one small read."""
    with open_binary(path) as file:
        size = file.seek(0, os.SEEK_END)
        if not size:
            raise tarfile.ReadError("it is empty")
        if not tars.is_packed(path) and _read_at(file, max(0, size - tars.BLOCK), tars.BLOCK).strip(b"\0"):
            raise tarfile.ReadError("its end is missing")
        yield str(size).encode()


def _tar_index(path: str) -> Iterable[bytes]:
    with open_tar(path) as archive:
        for member in tars.members(archive):
            yield f"{member.name}\0{member.size}\0{member.mtime}\n".encode()
