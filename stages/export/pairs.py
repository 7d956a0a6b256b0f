"""The corpus as BLIP's own files have it: one JSON list of `{"url": ..., "caption": ...}`, a kept caption each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from stages.contract import CorpusShard
from stages.corpus import kept_captions


def pairs(shard: CorpusShard) -> list[dict[str, str]]:
    """The pairs of one shard.

    An image without an address has `"image"` in its place: its file below the source's image folder, and where there is
    none, its name in the tars that `tars.write_shard` writes.

    Raises:
        ValueError: its tables do not cover the same candidates.
    """
    captions = kept_captions(shard)
    urls = shard.one("urls").table(["key", "url", "file"])
    found = []
    for key, address, file in zip(*(urls[name].to_pylist() for name in urls.column_names), strict=True):
        image = {"url": address} if address else {"image": file or f"{key}.jpg"}
        found += [{**image, "caption": caption} for caption in captions.get(key, ())]
    return found


def write_list(found: Iterable[Mapping[str, str]], path: Path) -> int:
    """Write pairs as they come, one a line.

    Returns:
        How many they were.
    """
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for pair in found:
            file.write(",\n" if count else "[\n")
            json.dump(pair, file, ensure_ascii=False)
            count += 1
        file.write("\n]\n" if count else "[]\n")
    return count
