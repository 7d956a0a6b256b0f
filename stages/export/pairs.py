"""The corpus as BLIP's own files have it: one JSON list of `{"url": ..., "caption": ...}`, a kept caption each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from stages.contract import CorpusShard
from stages.corpus import kept_captions
from stages.files import whole_file


def write_pairs(shards: Iterable[CorpusShard], url: str) -> int:
    """Write the list, shard by shard; it is there whole or not at all. Memory holds one shard's captions.

    An image without an address has `"image"` in its place: its file below the source's image folder, and where there is
    none, its name in the tars that `tars.write_shard` writes.

    Args:
        shards: their tables, in the list's order.
        url: the file, a local path or an fsspec URL.

    Returns:
        How many captions it holds.
    """
    count = 0
    with whole_file(url) as path, path.open("w", encoding="utf-8") as file:
        for shard in shards:
            for pair in _pairs(shard):
                file.write(",\n" if count else "[\n")
                json.dump(pair, file, ensure_ascii=False)
                count += 1
        file.write("\n]\n" if count else "[]\n")
    return count


def _pairs(shard: CorpusShard) -> Iterator[dict[str, str]]:
    captions = kept_captions(shard)
    urls = shard.urls.table(["key", "url", "file"])
    for key, address, file in zip(*(urls[name].to_pylist() for name in urls.column_names), strict=True):
        image = {"url": address} if address else {"image": file or f"{key}.jpg"}
        for caption in captions.get(key, ()):
            yield {**image, "caption": caption}
