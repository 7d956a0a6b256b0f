"""Images that an earlier img2dataset run left in a tar: they are looked at, and stay where they are."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Sequence

import fsspec
from fsspec.core import url_to_fs

from stages.download.checksums import checksums
from stages.download.decode import Picture
from stages.download.local import inside
from stages.download.rows import Outcome, Row
from stages.download.statuses import RefusedError

_IN_TAR = re.compile(r"(?P<tar>.+?\.tar)/(?P<member>.+)")


def lies_in_tar(row: Row) -> bool:
    """Whether the row's `file` is of the form `<name>.tar/<member>`."""
    return _IN_TAR.fullmatch(row.file or "") is not None


def read_existing(images: str, rows: Sequence[Row], max_pixels: int) -> tuple[str, dict[int, Outcome]]:
    """The fsspec URL of the one tar that the rows lie in, and what became of every row, by its index.

    Rows without a `file` are images that the earlier run had not got either.

    Raises:
        ValueError: the rows name no tar, more than one, or one outside the images folder.
        OSError: the tar cannot be read (`tarfile.ReadError` if it is damaged).
    """
    found = {row.index: match for row in rows if (match := _IN_TAR.fullmatch(row.file or ""))}
    tars = {match["tar"] for match in found.values()}
    if len(tars) != 1 or (name := inside(tars.copy().pop())) is None:
        raise ValueError(f"the images of one shard must lie in one tar of the images folder, found {sorted(tars)}")
    filesystem, root = url_to_fs(images)
    url: str = filesystem.unstrip_protocol(f"{root.rstrip('/')}/{name}")  # absolute: later stages run elsewhere
    members = _read_members(url, {match["member"] for match in found.values()}, max_pixels)
    outcomes = {row.index: Outcome("missing_file", f"{name} has no image for this row") for row in rows}
    return url, outcomes | {index: members[m["member"]] for index, m in found.items() if m["member"] in members}


def _read_members(url: str, wanted: set[str], max_pixels: int) -> dict[str, Outcome]:
    """What became of each wanted member that the tar has; streamed, one image in memory."""
    outcomes: dict[str, Outcome] = {}
    with fsspec.open(url, "rb") as file, tarfile.open(fileobj=file, mode="r|*") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.name in wanted else None
            if content is not None:
                outcomes.setdefault(member.name, _look(member.name, content.read(), max_pixels))
    return outcomes


def _look(member: str, encoded: bytes, max_pixels: int) -> Outcome:
    try:
        picture = Picture(encoded, max_pixels)
        picture.check()
    except RefusedError as refusal:
        return Outcome(refusal.status, refusal.words)
    width, height = picture.size
    return Outcome("success", None, width, height, member=member, **checksums([encoded]))
