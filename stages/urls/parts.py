"""The parts of a source: one input file each (or a pair that belongs together), which one worker reads."""

from __future__ import annotations

import json
import posixpath
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from hashlib import blake2b
from pathlib import PurePosixPath

from stages.errors import BrokenFileError, UserError
from stages.io import tars
from stages.io.files import absolute
from stages.urls.digest import digest
from stages.urls.files import Files, filesystem
from stages.urls.find import AT_ONCE, find
from stages.urls.keys import file_id
from stages.urls.settings import SourceSettings
from stages.urls.spec import SbuSource, VqaSource, WebDatasetSource, fixed_folder

TABLE = ".parquet"
UNREADABLE = "unreadable"
"""The digest of all that cannot be read: what becomes of the other files does not hang on it."""


@dataclass(frozen=True)
class Part:
    """What one worker reads from beginning to end."""

    file: str
    """`<source>-<hash of the file's name>`: what the keys of its rows and the names of its shards begin with."""
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
    limit: int | None = None
    """Rows that count, from its beginning; None: all."""

    @cached_property
    def name(self) -> str:
        """The name of what becomes of it: which rows of which content count."""
        asked = json.dumps([self.digest, self.source.chosen(), self.limit], sort_keys=True)
        return f"{self.file}-{blake2b(asked.encode(), digest_size=4).hexdigest()}"

    @property
    def place(self) -> str:
        """Its files, for messages."""
        return " / ".join(self.files)


DigestOf = Callable[[SourceSettings, Files, str], str]
"""As `stages.urls.digest.digest`."""


def find_parts(name: str, source: SourceSettings, digest_of: DigestOf = digest) -> list[Part]:
    """Return the parts of a source, in the order of its `path` entries, each glob's matches sorted by name.

    A file that cannot be read is a part, too, and says why.

    Args:
        name: the source's.
        source: its settings.
        digest_of: finds the digest of a part's files.

    Raises:
        UserError: nothing matches, or a file lacks its partner.
    """
    groups, source = find_files(name, source), _from_anywhere(source)
    root = filesystem(source.images_root)[1] if isinstance(source, WebDatasetSource) else None
    folders = [_below(root, files[0]) if root is not None else "" for files, _ in groups]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        digests = list(pool.map(partial(_digest, digest_of, source), (files for files, _ in groups), folders))
    return [
        Part(file_id(name, known_as), name, source, files, found, folder, broken)
        for (files, known_as), folder, (found, broken) in zip(groups, folders, digests, strict=True)
    ]


def find_files(name: str, source: SourceSettings) -> list[tuple[Files, str]]:
    """Return the files of every part, and what it is known by: its path below the folder that the source names.

    Of several files that are known by the same, or whose names have one hash, all but the first have a number behind
    it. None of them is read.

    Raises:
        UserError: nothing matches, or a file lacks its partner.
    """
    found: dict[str, str] = {}
    for path in source.paths:
        matches = find(path, source.folder_glob)
        if isinstance(source, WebDatasetSource):
            matches = _of_images(name, path, matches)
        if not matches:
            raise UserError(f"source {name}: no file matches {path}; correct its `path`")
        for match in matches:
            found.setdefault(match, _known_as(path, match))
    groups = _grouped(name, source, list(found))
    known = [found.get(files[0]) or _known_as(files[0], files[0]) for files in groups]
    return list(zip(groups, _told_apart(name, known), strict=True))


def _told_apart(source: str, known: list[str]) -> list[str]:
    """Names of files of which no two have the same hash: of forty thousand, two have with a chance of one in six."""
    seen, taken, apart = Counter[str](), set[str](), list[str]()
    for words in known:
        seen[words] += 1
        found = words if seen[words] == 1 else f"{words}#{seen[words]}"
        while file_id(source, found) in taken:
            seen[words] += 1
            found = f"{words}#{seen[words]}"
        taken.add(file_id(source, found))
        apart.append(found)
    return apart


def _grouped(name: str, source: SourceSettings, found: list[str]) -> list[Files]:
    if isinstance(source, WebDatasetSource):
        return _with_tables(found)
    if isinstance(source, SbuSource):
        return [_with_captions(name, file) for file in found]
    if isinstance(source, VqaSource):
        return _with_annotations(name, source, found)
    return [(file,) for file in found]


def _known_as(path: str, match: str) -> str:
    """A file's path below the folder that a path names as far as it is no pattern; its name where it is the file."""
    folder = fixed_folder(path)
    inner = filesystem(folder)[1].rstrip("/")
    file = filesystem(match)[1]
    below = file.removeprefix(f"{inner}/")
    return below if below != file else file.rpartition("/")[2]


def _from_anywhere(source: SourceSettings) -> SourceSettings:
    """Return a source whose folder of images a worker with another working folder finds."""
    root = source.images_root
    return source if root is None or source.packed else source.model_copy(update={"images": absolute(root)})


def _digest(digest_of: DigestOf, source: SourceSettings, files: Files, folder: str) -> tuple[str, str]:
    """Return the digest of a part, and why it has none."""
    try:
        return digest_of(source, files, folder), ""
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
    parts, named = list[Files](), set(found)
    for file in found:
        if tars.is_tar(file):
            table = f"{tars.stem(file)}{TABLE}"
            parts.append((file, table) if table in beside else (file,))
        elif file not in tar_of:
            parts.append((file,))
        elif tar_of[file] not in named:
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


def _with_annotations(name: str, source: VqaSource, found: list[str]) -> list[Files]:
    """Put each file of questions together with that of their answers; a list that holds both is a part of its own.

    Raises:
        UserError: there is no such file, and the questions are to be learnt from.
    """
    partners = {file: partner for file in found if (partner := _annotations_of(file)) != file}
    parts: list[Files] = []
    for file in found:
        if file in partners.values():
            continue
        if file not in partners or (not find(partners[file], None) and source.use == "measure"):
            parts.append((file,))
        elif find(partners[file], None):
            parts.append((file, partners[file]))
        else:
            partner = PurePosixPath(partners[file]).name
            raise UserError(f"source {name}: {file} has no {partner} beside it, which has the answers; put it there")
    return parts


def _annotations_of(file: str) -> str:
    """How VQA calls the annotations that go with a file of questions; that file itself where it is called otherwise."""
    base = PurePosixPath(file).name
    partner = base.replace("OpenEnded_", "").replace("questions", "annotations") if "questions" in base else base
    return f"{file.removesuffix(base)}{partner}"
