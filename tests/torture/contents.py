"""What lies in an output: every committed table with its rows, and the hashes of its side files."""

from __future__ import annotations

import hashlib

import fsspec

from pipeline.store import Store
from stages.io.shards import Artifact

Contents = dict[str, tuple[list[dict], dict[str, str]]]


def contents(output: str) -> Contents:
    """Of every table its rows, but how fast a training was, and the sha256 of each side file; by path in the output."""
    store = Store.open(output)
    store.filesystem.invalidate_cache()
    found: Contents = {}
    for path in sorted(store.filesystem.glob(f"{store.root}/*/*/*.parquet")):
        name = str(path).rpartition(store.root.partition("://")[2] or store.root)[2]
        artifact = Artifact(f"{store.root}{name}")
        table = artifact.table()
        repeated = [column for column in table.column_names if column != "images_per_second"]
        sides = {key[len("side.") :] for key in artifact.metadata() if key.startswith("side.")}
        found[name] = (table.select(repeated).to_pylist(), {ending: _hash(artifact.side(ending)) for ending in sides})
    return found


def _hash(url: str) -> str:
    with fsspec.open(url, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()
