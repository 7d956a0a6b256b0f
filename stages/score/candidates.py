"""The texts that are scored, and what tells one row of them from the others."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from stages.contract import Shard


@dataclass(frozen=True)
class Candidates:
    """Of all images of a shard, row for row."""

    rows: pa.Table
    """(key, candidate): what the table of scores begins with."""
    texts: list[str]
    """"" where there is nothing to score."""

    @property
    def keys(self) -> list[str]:
        """Of every row the image that its text is about."""
        keys: list[str] = self.rows["key"].to_pylist()
        return keys


def read_candidates(shard: Shard) -> Candidates:
    """All that was written of a shard's images, in the order in which it is scored."""
    table = shard.inputs["caption"].table(["key", "candidate", "caption"])
    return Candidates(table.select(["key", "candidate"]), table["caption"].to_pylist())
