"""The removal list: the images that people asked not to be used, by their URL or by the sha256 of their bytes.

It is a text file with one entry a line (`#` begins a comment), or a Parquet table with the columns `url` and `sha256`,
either of which may be missing, on any fsspec filesystem. It is no part of a fingerprint: a new entry makes nothing
else run again.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from stages.errors import UserError
from stages.files import write_whole

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


def same_address(url: str) -> str:
    """What two spellings of one address have in common: http or https, escapes, the fragment make no difference.

    A text that is no address stands for itself.
    """
    text = url.strip()
    try:
        parts = urlsplit(text)
        if not parts.hostname:
            return text
        port = "" if parts.port in (None, 80, 443) else f":{parts.port}"
    except ValueError:
        return text
    query = f"?{unquote(parts.query)}" if parts.query else ""
    return f"{parts.hostname}{port}{unquote(parts.path) or '/'}{query}"


@dataclass(frozen=True)
class Removals:
    """What is on a list."""

    addresses: frozenset[str] = frozenset()
    """As `same_address` writes them."""
    digests: frozenset[str] = frozenset()
    """sha256 in lower-case hex."""

    @staticmethod
    def of(entries: Iterable[str]) -> Removals:
        """The list of these entries, URLs and sha256 sums in any order."""
        texts = {entry.strip() for entry in entries} - {""}
        digests = {text for text in texts if _SHA256.fullmatch(text)}
        return Removals(frozenset(map(same_address, texts - digests)), frozenset(map(str.lower, digests)))

    def __bool__(self) -> bool:
        return bool(self.addresses or self.digests)

    def has_url(self, url: str | None) -> bool:
        """Whether a URL is on the list."""
        return bool(url and self.addresses) and same_address(url or "") in self.addresses

    def has_content(self, *sums: str | None) -> bool:
        """Whether one of the sums of an image's bytes (sha256 or md5, in lower-case hex) is on the list."""
        return not self.digests.isdisjoint(sums)


def is_entry(text: str) -> bool:
    """Whether a text is what a list is made of: an http(s) URL or a sha256 sum."""
    return bool(_SHA256.fullmatch(text) or re.match(r"https?://[^\s/]", text.strip(), re.IGNORECASE))


def read_entries(url: str) -> list[str]:
    """The entries of a list as they stand there.

    Raises:
        UserError: there is no such list, or it is neither text nor a fitting table.
    """
    filesystem, path = fsspec.core.url_to_fs(url)
    try:
        content: bytes = filesystem.cat_file(path)
    except FileNotFoundError:
        raise UserError(f"removed: no removal list {url}; write one, an empty file will do") from None
    except OSError as error:
        raise UserError(f"removed: {url} cannot be read ({error.strerror or error})") from None
    return _from_table(url, content) if _is_table(url) else _from_text(url, content)


class RemovalList:
    """A list that may grow while it is in use: it is read again when its file has changed."""

    def __init__(self, url: str | None) -> None:
        self._url = url
        self._state: object = None
        self._removals = Removals()

    def __call__(self) -> Removals:
        """What is on the list now.

        Raises:
            UserError: the list cannot be read.
        """
        if self._url is not None and (state := list_state(self._url)) != self._state:
            self._removals = Removals.of(read_entries(self._url))
            self._state = state
        return self._removals


def list_state(url: str) -> object:
    """What changes when the file of a list does; None where there is none."""
    filesystem, path = fsspec.core.url_to_fs(url)
    filesystem.invalidate_cache()
    return filesystem.checksum(path) if filesystem.exists(path) else None


def add_entries(url: str, entries: Sequence[str]) -> list[str]:
    """Add those entries that a list lacks, and return them; a list that is not there yet is begun.

    Raises:
        UserError: the list cannot be read.
    """
    filesystem, path = fsspec.core.url_to_fs(url)
    there = filesystem.exists(path)
    known = Removals.of(read_entries(url)) if there else Removals()
    new = [
        entry
        for entry in dict.fromkeys(text.strip() for text in entries)
        if entry and not (known.has_url(entry) or known.has_digest(entry.lower()))
    ]
    if new or not there:
        before = filesystem.cat_file(path) if there else None
        write_whole(url, _table_with(before, new) if _is_table(url) else _text_with(before, new))
    return new


def _is_table(url: str) -> bool:
    return url.lower().endswith((".parquet", ".pq"))


def _from_text(url: str, content: bytes) -> list[str]:
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"removed: {url} is no text file in UTF-8; a Parquet list's name ends in .parquet") from None
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _from_table(url: str, content: bytes) -> list[str]:
    try:
        table = pq.read_table(io.BytesIO(content))
    except pa.ArrowInvalid as error:
        raise UserError(f"removed: {url} is no Parquet table ({error})") from None
    columns = [name for name in ("url", "sha256") if name in table.column_names]
    if not columns:
        raise UserError(f"removed: {url} has neither a column 'url' nor a column 'sha256'")
    return [str(entry) for name in columns for entry in table[name].to_pylist() if entry]


def _text_with(before: bytes | None, new: Sequence[str]) -> bytes:
    start = before or b""
    gap = b"\n" if start and not start.endswith(b"\n") else b""
    return start + gap + "".join(f"{entry}\n" for entry in new).encode()


def _table_with(before: bytes | None, new: Sequence[str]) -> bytes:
    urls = [None if _SHA256.fullmatch(entry) else entry for entry in new]
    digests = [entry.lower() if _SHA256.fullmatch(entry) else None for entry in new]
    rows = pa.table({"url": pa.array(urls, pa.string()), "sha256": pa.array(digests, pa.string())})
    tables = [rows] if before is None else [pq.read_table(io.BytesIO(before)), rows]
    buffer = io.BytesIO()
    pq.write_table(pa.concat_tables(tables, promote_options="default"), buffer)
    return buffer.getvalue()
