"""The parts of a source: one input file each (or a pair that belongs together), which one worker reads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

from stages.errors import UserError
from stages.urls.digest import digest
from stages.urls.files import Files, find, first_line, reading
from stages.urls.spec import SbuSource, SourceSettings, WebDatasetSource

HASHED_AT_ONCE = 16
"""Files whose digests are taken side by side: on an object store each costs a few round trips."""


@dataclass(frozen=True)
class Part:
    """What one worker reads from beginning to end."""

    name: str
    """`<source>-<index>`, the index counting the source's files in the order of their names."""
    source_name: str
    """The source's name in the manifest."""
    source: SourceSettings
    files: Files
    """The input file; or urls and captions of SBU; or an img2dataset tar and the table beside it."""
    digest: str
    """sha256 of the content, whatever the path; see `stages.urls.digest`."""


def find_parts(name: str, source: SourceSettings) -> list[Part]:
    """Return the parts of a source, in the order of its `path` entries, each glob's matches sorted by name.

    Raises:
        UserError: nothing matches, or a file lacks its partner or is broken.
    """
    groups = find_files(name, source)
    with ThreadPoolExecutor(HASHED_AT_ONCE) as pool:
        digests = list(pool.map(partial(_digest, source), groups))
    return [
        Part(f"{name}-{index:05d}", name, source, files, found)
        for index, (files, found) in enumerate(zip(groups, digests, strict=True))
    ]


def find_files(name: str, source: SourceSettings) -> list[Files]:
    """Return the files of every part; reads none of them.

    Raises:
        UserError: nothing matches, or a file lacks its partner.
    """
    found: dict[str, None] = {}
    for path in source.paths:
        matches = find(path, source.folder_glob)
        if not matches:
            raise UserError(f"source {name}: no file matches {path}; correct its `path`")
        found.update(dict.fromkeys(matches))
    if isinstance(source, WebDatasetSource):
        return _with_tables(name, list(found))
    if isinstance(source, SbuSource):
        return [_with_captions(name, file) for file in found]
    return [(file,) for file in found]


def _digest(source: SourceSettings, files: Files) -> str:
    with reading(files):
        try:
            return digest(source, files)
        except PermissionError as error:
            raise UserError(f"{' / '.join(files)} cannot be opened: {first_line(error)}") from error


def _with_tables(name: str, tars: list[str]) -> list[Files]:
    if others := [file for file in tars if not file.endswith(".tar")]:
        raise UserError(f"source {name}: {others[0]} is no .tar; let `path` name the folder, or folder/*.tar")
    folder = tars[0].rpartition("/")[0]
    tables = set(find(folder, "*.parquet"))  # one listing, not a question for each of forty thousand tars
    return [(tar, table) if (table := f"{tar.removesuffix('.tar')}.parquet") in tables else (tar,) for tar in tars]


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
