"""Images that lie in a tar already: they are looked at, and stay where they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stages.download.containers import Container
from stages.download.fit import Fit
from stages.download.rows import Outcome, Row
from stages.io import tars
from stages.io.files import open_bytes


def read_existing(container: Container, rows: Sequence[Row], fit: Fit) -> dict[int, Outcome]:
    """What became of every row, by its index; streamed, one image in memory.

    Rows without a `file` are images that the earlier run had not got either.

    Raises:
        OSError: the tar cannot be read (`tarfile.ReadError` if it is damaged).
    """
    outcomes = {row.index: Outcome("missing_file", f"{container.name} has no image for this row") for row in rows}
    with open_bytes(container.url) as file, tars.open_tar(file, "r|*") as archive:
        for member, content in tars.files(archive, container.members):
            outcomes |= dict.fromkeys(container.members[member], _look(member, content, fit))
    return outcomes


def _look(member: str, encoded: bytes, fit: Fit) -> Outcome:
    outcome = fit.look(encoded)
    return replace(outcome, member=member) if outcome.status == "success" else outcome
