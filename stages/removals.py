"""The removal list: the images that people asked not to be used, by their URL or by the sha256 or md5 of their bytes.

It lies on any fsspec filesystem, in one of the forms that `removal_files` reads. 64 hex digits are a sha256, 32 an md5,
and everything else is an address. What follows a blank and `#` is a remark. A blank within an address is written `%20`:
otherwise nobody could tell where an address ends and somebody's note on it begins. The list is no part of a
fingerprint: a new entry makes nothing else run again.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from stages import removal_files
from stages.errors import UserError
from stages.io.files import is_there, is_url, locate, write_whole
from stages.io.outages import patiently

TRIES: Final = 5
"""How often entries are written that are not on the list afterwards."""
_SUMS: Final = {64: "sha256", 32: "md5"}
"""What a sum of so many hex digits is."""
_HEX: Final = re.compile(r"[0-9a-fA-F]+")
_ADDRESS: Final = re.compile(r"https?://(?!/)[^\s\0-\x1f\x7f\ud800-\udfff]+", re.IGNORECASE)
_WITH_BLANK: Final = re.compile(r"https?://\S+\s", re.IGNORECASE)
BLANKS: Final = "write a blank within an address as %20, and a note behind ' #'"
"""What to do where an address and a note on it cannot be told apart."""
_REMARK: Final = re.compile(r"(?:^|\s)\s*#.*", re.DOTALL)
_NAMED: Final = 5
"""Lines of a list of which it is said what is wrong with them."""


def same_address(url: str) -> str:
    """What two spellings of one address have in common: http or https, escapes, the fragment make no difference.

    A text that is no address stands for itself.
    """
    text = url.strip()
    try:
        parts = urlsplit(text.partition("#")[0].strip())
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
    """sha256 and md5 in lower-case hex."""

    @staticmethod
    def of(entries: Iterable[str]) -> Removals:
        """The list of these entries, in any order."""
        texts = {entry.strip() for entry in entries} - {""}
        digests = {text for text in texts if column_of(text) != "url"}
        return Removals(frozenset(map(same_address, texts - digests)), frozenset(map(str.lower, digests)))

    def __bool__(self) -> bool:
        return bool(self.addresses or self.digests)

    def has_url(self, url: str | None) -> bool:
        """Whether a URL is on the list."""
        return bool(url and self.addresses) and same_address(url or "") in self.addresses

    def has_content(self, *sums: str | None) -> bool:
        """Whether one of the sums of an image's bytes (sha256 or md5, in lower-case hex) is on the list."""
        return not self.digests.isdisjoint(sums)


def column_of(entry: str) -> str:
    """What an entry is: "sha256", "md5" or, if it is no sum, "url"."""
    return _SUMS.get(len(entry), "url") if _HEX.fullmatch(entry) else "url"


def is_entry(text: str) -> bool:
    """Whether a text is what a list is made of: an http(s) URL without a blank, a sha256 or an md5 sum."""
    return column_of(text) != "url" or _ADDRESS.fullmatch(text) is not None


def without_remark(text: str) -> str:
    """What stands on a line before a blank and `#`; "" where it begins with `#`."""
    return _REMARK.sub("", text, count=1).strip()


@dataclass(frozen=True)
class Listed:
    """What stands in the file of a list."""

    entries: tuple[str, ...]
    """Those that are some (see `is_entry`), without remarks."""
    odd: list[str]
    """What is said of those that are none, in one line."""


def read_list(url: str) -> Listed:
    """The entries of a list as they stand there.

    Raises:
        UserError: there is no such list, or it cannot be read.
    """
    try:
        content = _content(url)
    except FileNotFoundError:
        raise UserError(
            f"removed: no removal list {url}{_here(url)}; write one, an empty file will do, where every host sees it"
        ) from None
    except Exception as error:  # noqa: BLE001 - every kind of storage has errors of its own
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"removed: {url} cannot be read ({reason})") from None
    found = [(number, entry) for number, text in removal_files.entries(url, content) if (entry := without_remark(text))]
    odd = [(number, text) for number, text in found if not is_entry(text)]
    return Listed(tuple(text for _, text in found if is_entry(text)), [_told(url, odd)] if odd else [])


def _here(url: str) -> str:
    """The host that looked, where another one may see something else."""
    return "" if is_url(url) else f" on {socket.gethostname()}"


def _told(url: str, odd: Sequence[tuple[int, str]]) -> str:
    unit = removal_files.unit(url)
    shown = ", ".join(f"{unit} {number} {text[:80]!a}" for number, text in odd[:_NAMED])
    more = f" and {len(odd) - _NAMED} more" if len(odd) > _NAMED else ""
    advice = f"; {BLANKS}" if any(_WITH_BLANK.match(text) for _, text in odd) else ""
    return f"removed: {url}: neither an http(s) address nor a sum (64 or 32 hex digits): {shown}{more}{advice}"


_NOT_READ: Final = object()


class RemovalList:
    """A list that may grow while it is in use: it is read again when its file has changed.

    One that is not there, or no longer, is none that is empty: no image may be fetched then.
    """

    def __init__(self, url: str | None) -> None:
        self._url = url
        self._state: object = _NOT_READ
        self._removals = Removals()

    def __call__(self) -> Removals:
        """What is on the list now.

        Raises:
            UserError: the list cannot be read, or is not there.
        """
        if self._url is not None and ((state := _state_of(self._url)) is None or state != self._state):
            self._removals = Removals.of(read_list(self._url).entries)
            self._state = state
        return self._removals


def _state_of(url: str) -> object:
    """What changes when the file of a list does; None where nobody can tell, as there is none."""
    filesystem, path = locate(url)
    filesystem.invalidate_cache()
    try:
        return filesystem.checksum(path)
    except OSError:  # what is amiss is for `read_list` to say
        return None


def add_entries(url: str, entries: Sequence[str]) -> list[str]:
    """Add those entries that a list lacks, and return them; a list that is not there yet is begun.

    Raises:
        UserError: the list cannot be read.
    """
    added: list[str] = []
    for _ in range(TRIES):  # whoever else has written it meanwhile may not have seen ours
        there = is_there(url)
        known = Removals.of(read_list(url).entries) if there else Removals()
        new = [
            entry
            for entry in dict.fromkeys(text.strip() for text in entries)
            if entry and not (known.has_url(entry) or known.has_content(entry.lower()))
        ]
        if there and not new:
            break
        before = _content(url) if there else None
        written = [(column_of(entry), removal_files.without_blanks(entry)) for entry in new]
        write_whole(url, removal_files.with_entries(url, before, written))
        added = added or new
    return added


def _content(url: str) -> bytes:
    filesystem, path = locate(url)
    content: bytes = patiently(lambda: filesystem.cat_file(path))
    return content
