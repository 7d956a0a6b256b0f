"""Files that are there whole or not at all, on any fsspec filesystem."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem


def write_whole(url: str, content: bytes) -> None:
    """Write a file: renamed into place where that is atomic, with one PUT elsewhere."""
    filesystem, path = fsspec.core.url_to_fs(url)
    if not isinstance(filesystem, LocalFileSystem):
        filesystem.pipe_file(path, content)
        return
    with _beside(Path(path)) as temporary:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


@contextmanager
def whole_file(url: str) -> Iterator[Path]:
    """A local path to write a file of any size at; it is put into place when the block ends without an error."""
    filesystem, path = fsspec.core.url_to_fs(url)
    if not isinstance(filesystem, LocalFileSystem):
        with tempfile.TemporaryDirectory(prefix="capfilt-") as folder:
            local = Path(folder) / "file"
            yield local
            filesystem.put_file(str(local), path)
        return
    with _beside(Path(path)) as temporary:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)


@contextmanager
def whole_folder(url: str) -> Iterator[Path]:
    """A local folder to write files into, which become `url` when the block ends without an error.

    On an object store, which has no folders, they arrive one after another.
    """
    filesystem, path = fsspec.core.url_to_fs(url)
    if not isinstance(filesystem, LocalFileSystem):
        with tempfile.TemporaryDirectory(prefix="capfilt-") as folder:
            yield Path(folder)
            for file in sorted(Path(folder).iterdir()):
                filesystem.put_file(str(file), f"{path}/{file.name}")
        return
    with _beside(Path(path)) as temporary:
        temporary.mkdir()
        yield temporary
        temporary.replace(path)


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A name of its own in the target's folder, where nothing is left behind."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:12]}")
    try:
        yield temporary
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        temporary.unlink(missing_ok=True)
