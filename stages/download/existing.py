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
        OSError: the tar cannot be read.
        tarfile.ReadError: it is damaged.
    """
    outcomes = {row.index: Outcome("missing_file", f"{container.name} has no image for this row") for row in rows}
    with open_bytes(container.url) as file, tars.open_tar(file, "r|*") as archive:
        for found in tars.files(archive, container.members):
            outcomes |= dict.fromkeys(container.members[found.name], _look(found, fit))
    return outcomes


def _look(found: tars.File, fit: Fit) -> Outcome:
    outcome = fit.too_large(found.size) or fit.look(found.read())
    return replace(outcome, member=found.name) if outcome.status == "success" else outcome
