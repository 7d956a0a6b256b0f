"""The parts of a source: one input file each (or a pair that belongs together), which one worker reads."""

from __future__ import annotations

import posixpath
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

from stages.errors import BrokenFileError, UserError
from stages.io import tars
from stages.io.files import absolute
from stages.urls.digest import digest
from stages.urls.files import AT_ONCE, Files, filesystem, find
from stages.urls.spec import SbuSource, SourceSettings, WebDatasetSource

TABLE = ".parquet"
UNREADABLE = "unreadable"
"""The digest of all that cannot be read: what becomes of the other files does not hang on it."""


@dataclass(frozen=True)
class Part:
    """What one worker reads from beginning to end."""

    name: str
    """`<source>-<index>`, the index counting the source's files in the order of their names."""
    source_name: str
    """The source's name in the manifest."""
    source: SourceSettings
    """Its `images` as a worker in any folder finds them."""
    files: Files
    """The input file; or urls and captions of SBU; or an img2dataset tar and the table beside it."""
    digest: str
    """sha256 of the content, whatever the path; see `stages.urls.digest`."""
    folder: str = ""
    """Where the file lies below the folder of the source's images, with a slash at its end; "" for that folder."""
    broken: str = ""
    """Why it cannot be read, as far as its digest showed; "" where nothing is wrong with it."""

    @property
    def place(self) -> str:
        """Its files, for messages."""
        return " / ".join(self.files)


def find_parts(name: str, source: SourceSettings) -> list[Part]:
    """Return the parts of a source, in the order of its `path` entries, each glob's matches sorted by name.

    A file that cannot be read is a part, too, and says why.

    Raises:
        UserError: nothing matches, or a file lacks its partner.
    """
    groups, source = find_files(name, source), _from_anywhere(source)
    root = filesystem(source.images_root)[1] if isinstance(source, WebDatasetSource) else None
    folders = [_below(root, files[0]) if root is not None else "" for files in groups]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        digests = list(pool.map(partial(_digest, source), groups, folders))
    return [
        Part(f"{name}-{index:05d}", name, source, files, found, folder, broken)
        for index, (files, folder, (found, broken)) in enumerate(zip(groups, folders, digests, strict=True))
    ]


def find_files(name: str, source: SourceSettings) -> list[Files]:
    """Return the files of every part; reads none of them.

    Raises:
        UserError: nothing matches, or a file lacks its partner.
    """
    found: dict[str, None] = {}
    for path in source.paths:
        matches = find(path, source.folder_glob)
        if isinstance(source, WebDatasetSource):
            matches = _of_images(name, path, matches)
        if not matches:
            raise UserError(f"source {name}: no file matches {path}; correct its `path`")
        found.update(dict.fromkeys(matches))
    if isinstance(source, WebDatasetSource):
        return _with_tables(list(found))
    if isinstance(source, SbuSource):
        return [_with_captions(name, file) for file in found]
    return [(file,) for file in found]


def _from_anywhere(source: SourceSettings) -> SourceSettings:
    """Return a source whose folder of images a worker with another working folder finds."""
    root = source.images_root
    return source if root is None or source.packed else source.model_copy(update={"images": absolute(root)})


def _digest(source: SourceSettings, files: Files, folder: str) -> tuple[str, str]:
    """Return the digest of a part, and why it has none."""
    try:
        return digest(source, files, folder), ""
    except BrokenFileError as error:
        beside = tars.is_tar(files[0]) and len(files) > 1 and files[1] in str(error)
        return UNREADABLE, f"{error}; without this table the tar is read alone" if beside else str(error)


def _below(root: str, file: str) -> str:
    folder = posixpath.relpath(posixpath.dirname(filesystem(file)[1]), root)
    return "" if folder == "." else f"{folder}/"


def _of_images(name: str, path: str, matches: list[str]) -> list[str]:
    """Leave out what lies beside tars and tables of images, such as img2dataset's statistics.

    Raises:
        UserError: there is nothing else, or a form that is not read.
    """
    if records := [file for file in matches if ".tfrecord" in file.rpartition("/")[2]]:
        raise UserError(f"source {name}: {records[0]} is a TFRecord, which is not read; write tars in its place")
    found = [file for file in matches if tars.is_tar(file) or file.endswith(TABLE)]
    if matches and not found:
        raise UserError(f"source {name}: {matches[0]} is no .tar; let `path` name the tars, or the folder they lie in")
    if not matches:
        raise UserError(f"source {name}: no file matches {path}; tars in folders below it are `{path}/**/*.tar`")
    return found


def _with_tables(found: list[str]) -> list[Files]:
    """Put each tar together with the table beside it; a table without a tar is a part of its own."""
    folders = list(dict.fromkeys(file.rpartition("/")[0] or "/" for file in found))
    with ThreadPoolExecutor(AT_ONCE) as pool:  # one listing a folder, not a question for each of forty thousand tars
        beside = {file for files in pool.map(partial(find, folder_glob="*"), folders) for file in files}
    tar_of = {f"{tars.stem(file)}{TABLE}": file for file in (*beside, *found) if tars.is_tar(file)}
    parts: list[Files] = []
    for file in found:
        if tars.is_tar(file):
            table = f"{tars.stem(file)}{TABLE}"
            parts.append((file, table) if table in beside else (file,))
        elif file not in tar_of:
            parts.append((file,))
        elif tar_of[file] not in found:
            parts.append((tar_of[file], file))
    return parts


def _with_captions(name: str, file: str) -> Files:
    base = PurePosixPath(file).name
    if ".txt" not in base:
        return (file,)
    if "_urls.txt" not in base:
        raise UserError(f"source {name}: {file} is no list of urls; let `path` name the *_urls.txt files alone")
    captions = f"{file.removesuffix(base)}{base.replace('_urls.txt', '_captions.txt')}"
    if not find(captions, None):
        raise UserError(f"source {name}: {file} has no {PurePosixPath(captions).name} beside it; put it there")
    return (file, captions)
