"""Where a result or an export may be kept: on a disk, or in a store that others see and that is there tomorrow."""

from __future__ import annotations

import re
from typing import Final

import fsspec

from stages.io.files import LOCAL, is_url

_NO_STORE: Final = {
    "memory": "is gone when the process ends",
    **dict.fromkeys(("data", "http", "https", "reference"), "can only be read"),
    **dict.fromkeys(("git", "github"), "can only be read"),
    **dict.fromkeys(("libarchive", "tar", "zip"), "is one file, which many processes cannot write"),
    **dict.fromkeys(("blockcache", "cached", "dir", "filecache", "generic", "root", "simplecache"), "is no store"),
}
"""What is amiss with a filesystem, by its name."""
_IN_BUCKETS: Final = frozenset({"abfs", "abfss", "adl", "az", "gcs", "gs", "oci", "oss", "s3", "s3a"})
_PROTOCOL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(?:/|$)")
_INSTEAD: Final = "name a folder, or a place such as s3://bucket/folder"


def why_no_place(address: str) -> str:
    """What is wrong with an address for whoever wants to keep something there, in words; "" where nothing is.

    Args:
        address: a path or an fsspec URL; what it names need not be there.
    """
    if not is_url(address):
        found = _PROTOCOL.match(address)
        known = found and found[1].lower() in {*fsspec.available_protocols(), *_IN_BUCKETS}
        return f"'{found[1]}:' is no folder; write {found[1]}://bucket/folder" if found and known else ""
    protocol, _, rest = address.partition("://")
    if "::" in protocol:
        return f"'{protocol}' is a filesystem within another one; {_INSTEAD}"
    if why := _NO_STORE.get(protocol.lower()):
        return f"what lies in '{protocol}://' {why}; {_INSTEAD}"
    named = rest.partition("/")[0] if protocol.lower() in _IN_BUCKETS else rest.strip("/")
    if not named and f"{protocol}://" not in LOCAL:
        return f"it names no bucket; {_INSTEAD}"
    return "" if named or rest else f"it names no folder; {_INSTEAD}"
