"""What goes into a download, row by row, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import pyarrow as pa

from stages.tables import IMAGES, Status


@dataclass(frozen=True)
class Row:
    """One row of the urls table, as far as the download reads it."""

    index: int
    """Its place in the shard."""
    key: str
    url: str | None
    text: str | None
    file: str | None


@dataclass(frozen=True)
class Outcome:
    """What became of a row. Sizes are in pixels; `sha256` and `md5` are of the bytes as they came."""

    status: Status
    error: str | None = None
    width: int | None = None
    height: int | None = None
    original_width: int | None = None
    original_height: int | None = None
    sha256: str | None = None
    md5: str | None = None
    member: str | None = None
    """The image's name in a tar that exists already; images that this stage stores are named by `compute`."""
    retry: int = 0
    """The `capfilt retry` that it came by; 0 = without one."""


def read_rows(urls: pa.Table) -> list[Row]:
    """The rows of a urls table, in its order."""
    columns = urls.select(["key", "url", "text", "file"]).to_pylist()
    return [Row(index=index, **columns) for index, columns in enumerate(columns)]


def images_table(rows: Iterable[Row], outcomes: Iterable[Outcome]) -> pa.Table:
    """The images table: one row per pair, in their order."""
    records = [{"key": row.key, "url": row.url, **asdict(outcome)} for row, outcome in zip(rows, outcomes, strict=True)]
    return pa.Table.from_pylist(records, schema=IMAGES)
