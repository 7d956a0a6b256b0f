"""Batches of any size in, tables of one size out, in the same order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa


def cut(batches: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.Table]:
    """Regroup batches into tables of exactly `size` rows; only the last has fewer, and none is empty."""
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        at = 0
        while batch.num_rows - at >= size - rows:
            held.append(batch.slice(at, size - rows))
            at += size - rows
            yield pa.Table.from_batches(held).combine_chunks()
            held, rows = [], 0
        if at < batch.num_rows:
            held.append(batch.slice(at))
            rows += batch.num_rows - at
    if held:
        yield pa.Table.from_batches(held).combine_chunks()
