"""Images that lie in a tar already: they are looked at, and stay where they are."""

from __future__ import annotations

from collections.abc import Sequence

from stages import tars
from stages.download.checksums import checksums
from stages.download.containers import Container
from stages.download.decode import Picture
from stages.download.rows import Outcome, Row
from stages.download.statuses import RefusedError
from stages.files import open_bytes


def read_existing(container: Container, rows: Sequence[Row], max_pixels: int) -> dict[int, Outcome]:
    """What became of every row, by its index; streamed, one image in memory.

    Rows without a `file` are images that the earlier run had not got either.

    Raises:
        OSError: the tar cannot be read (`tarfile.ReadError` if it is damaged).
    """
    outcomes = {row.index: Outcome("missing_file", f"{container.name} has no image for this row") for row in rows}
    with open_bytes(container.url) as file, tars.open_tar(file, "r|*") as archive:
        for member, content in tars.files(archive, container.members):
            outcomes |= dict.fromkeys(container.members[member], _look(member, content, max_pixels))
    return outcomes


def _look(member: str, encoded: bytes, max_pixels: int) -> Outcome:
    try:
        picture = Picture(encoded, max_pixels)
        picture.check()
    except RefusedError as refusal:
        return Outcome(refusal.status, refusal.words)
    width, height = picture.size
    return Outcome("success", None, width, height, member=member, **checksums(encoded))
