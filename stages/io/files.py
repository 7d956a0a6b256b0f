"""Files on any fsspec filesystem: a path is a name and never a pattern, and a file is there whole or not at all.

fsspec itself takes `[`, `*` and `?` for a pattern in many of its methods (`rm` among them), and `::` for a filesystem
within another one. So whatever has a path goes through `locate`, `open_bytes` and `remove`.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import re
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import fsspec
from fsspec.implementations.local import LocalFileSystem

from stages.io.outages import patient, patiently

SCRATCH = "capfilt-"
"""How the names of scratch folders begin, in the system's folder for temporary files; the process follows."""
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{12}")
"""What a file is called until it is whole, in the folder where it will lie."""
LONGEST = 60
"""Characters that stand there of a longer name: four bytes each at most, of the 255 that a name may have."""
LOCAL = ("file://", "local://")
VERSION = "?versionId="
_DISKS = LocalFileSystem()
"""One for all paths: to ask fsspec for it takes as long as to find a small file."""


def is_url(path: str) -> bool:
    """Whether it is a URL: `://` behind a word, not within a local path."""
    protocol, separator, _ = path.partition("://")
    return bool(separator) and "/" not in protocol


def absolute(path: str) -> str:
    """A local path as a process in another folder finds it; a URL as it is.

    `~` at the beginning is the home folder; `./~` is a folder of that name, which `Path.expanduser` overlooks.
    """
    return path if is_url(path) else str(Path(os.path.expanduser(path)).absolute())  # noqa: PTH111


def locate(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The filesystem of a path or URL, and the path on it, of which no character means anything else.

    Raises:
        ImportError: the filesystem's driver is not installed.
        ValueError: there is no such filesystem; or its driver would take a part of the name for something else.
    """
    if is_url(url) and not url.startswith(LOCAL):
        protocol = url.partition("://")[0]
        if VERSION in url and protocol in ("s3", "s3a"):
            raise ValueError(f"{url}: {VERSION!r} in a name is taken for a version by the driver; rename the file")
        options = fsspec.get_filesystem_class(protocol)._get_kwargs_from_urls(url)  # noqa: SLF001 - has no other name
        # a remembered listing knows nothing of what other processes have written since
        options = {"use_listings_cache": False, **options}
        return fsspec.filesystem(protocol, **options), fsspec.core.strip_protocol(url)
    for prefix in LOCAL:
        url = url.removeprefix(prefix)
    return _DISKS, absolute(url)


@contextmanager
def open_bytes(url: str) -> Iterator[IO[bytes]]:
    """Open a file for reading."""
    filesystem, path = locate(url)
    with patiently(lambda: filesystem.open(path, "rb")) as file:
        yield file


@patient
def is_there(url: str) -> bool:
    """Whether something lies there. What fsspec calls `exists` takes every error for "no"."""
    filesystem, path = locate(url)
    try:
        filesystem.info(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


@patient
def remove(url: str) -> None:
    """Remove a file, or a folder and all below it.

    Raises:
        FileNotFoundError: there is none.
    """
    filesystem, path = locate(url)
    # the local filesystem takes a path as it is written; all others, and these alone, look for a glob in it
    filesystem.rm(path if isinstance(filesystem, LocalFileSystem) else glob.escape(path), recursive=True)


@patient
def fetch_folder(url: str, target: Path) -> None:
    """Copy all that lies below a folder into a local one."""
    filesystem, path = locate(url)
    for name in filesystem.find(path):
        own = target / name[len(path.rstrip("/")) + 1 :]
        own.parent.mkdir(parents=True, exist_ok=True)
        filesystem.get_file(name, str(own))


@patient
def write_whole(url: str, content: bytes) -> None:
    """Write a file: renamed into place where that is atomic, with one PUT elsewhere."""
    filesystem, path = locate(url)
    if not isinstance(filesystem, LocalFileSystem):
        filesystem.pipe_file(path, content)
        return
    with _beside(Path(path)) as temporary:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(Path(path).parent)


@patient
def create_whole(url: str, content: bytes) -> bool:
    """Write a file unless there is one: by a hard link locally, with a conditional PUT (`If-None-Match: *`) elsewhere.

    Returns:
        Whether it was written. False does not say whose the file is that is there: a PUT that is repeated because its
        answer was lost finds what it wrote itself.
    """
    filesystem, path = locate(url)
    if isinstance(filesystem, LocalFileSystem):
        return _link_whole(Path(path), content)
    try:
        filesystem.pipe_file(path, content, mode="create")
    except OSError:  # of which kind a refused condition is differs between filesystems
        filesystem.invalidate_cache()
        if not is_there(url):
            raise
        return False
    return True


def _link_whole(path: Path, content: bytes) -> bool:
    with _beside(path) as temporary:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            temporary.replace(path)  # a filesystem without hard links: the last one wins, whole as well
        _sync_folder(path.parent)
    return True


@patient
def put_whole(source: Path, url: str) -> None:
    """Copy a local file, or a folder and all below it, whose files are there one after the other."""
    if source.is_dir():
        for file in sorted(found for found in source.rglob("*") if found.is_file()):
            put_whole(file, f"{url}/{file.relative_to(source).as_posix()}")
        return
    filesystem, path = locate(url)
    filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
    if not isinstance(filesystem, LocalFileSystem):
        filesystem.put_file(str(source), path)
        return
    with whole_file(url) as temporary:
        shutil.copyfile(source, temporary)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A local folder that is gone after the block; its name tells whose it is, should the process die in it."""
    with tempfile.TemporaryDirectory(prefix=f"{SCRATCH}{os.getpid()}-") as folder:
        yield Path(folder)


@contextmanager
def whole_file(url: str) -> Iterator[Path]:
    """A local path to write a file of any size at; it is put into place when the block ends without an error."""
    filesystem, path = locate(url)
    if not isinstance(filesystem, LocalFileSystem):
        with scratch_folder() as folder:
            local = folder / "file"
            yield local
            patiently(lambda: filesystem.put_file(str(local), path))
        return
    with _beside(Path(path)) as temporary:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
        _sync_folder(Path(path).parent)


@contextmanager
def temporary_folder(url: str) -> Iterator[Path]:
    """A local folder to write files into that will become those of the folder `url`; it is gone after the block.

    Locally it lies on the same disk as they will, so that they need only be renamed.
    """
    filesystem, path = locate(url)
    if not isinstance(filesystem, LocalFileSystem):
        with scratch_folder() as folder:
            yield folder
        return
    folder = Path(path)
    with _beside(folder / folder.name if folder.is_dir() else folder) as temporary:
        temporary.mkdir()
        yield temporary


def remove_leftovers(urls: Iterable[str]) -> None:
    """Remove what was left beside these files and folders by writers that were killed before they were whole."""
    names: dict[Path, set[str]] = {}
    for filesystem, path in map(locate, urls):
        if isinstance(filesystem, LocalFileSystem):
            names.setdefault(Path(path).parent, set()).add(_short(Path(path).name))
    for folder, own in names.items():
        for left in folder.iterdir() if folder.is_dir() else ():
            if TEMPORARY.fullmatch(left.name) and left.name[1:].rpartition(".")[0] in own:
                _remove(left)


def usual_mode(folder: Path) -> int:
    """The permissions that a new file gets there; some libraries give theirs to the owner alone."""
    with _beside(folder / "mode") as probe:
        probe.touch()
        return stat.S_IMODE(probe.stat().st_mode)


def _sync_folder(folder: Path) -> None:
    """See that a new name survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A name of its own in the target's folder, where nothing is left behind."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{_short(target.name)}.{uuid.uuid4().hex[:12]}")
    try:
        yield temporary
    finally:
        _remove(temporary)


def _short(name: str) -> str:
    """A name as it stands in that of a temporary file: one for every name, so that it is known whose that was."""
    if len(name) <= LONGEST:
        return name
    return f"{name[: LONGEST - 17]}~{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}"


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
