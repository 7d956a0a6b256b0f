"""A shard of the corpus as a WebDataset tar: for every image `jpg`, `json` (`stages.export.sample`), `txt` (best)."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from stages.contract import CorpusShard
from stages.export.sample import as_json, descriptions
from stages.io.files import whole_file
from stages.io.shards import read_present
from stages.io.webdataset import write_tar
from stages.pictures import decode

JPEG_START = b"\xff\xd8\xff"
JPEG_QUALITY = 95
"""Of images that are no JPEG yet."""


@dataclass
class Written:
    """What became of a shard's images that keep a caption."""

    images: int = 0
    """How many the tar holds."""
    bytes: int = 0
    """How large it is."""
    broken: dict[str, str] = field(default_factory=dict)
    """Those that cannot be decoded or are there no more, and why, by key; the tar lacks them."""


def write_shard(shard: CorpusShard, url: str) -> Written:
    """Write a shard's images that have a kept caption; the tar is there whole or not at all.

    Memory holds the shard's tables and one image.

    Args:
        shard: its tables.
        url: the tar, a local path or an fsspec URL.

    Raises:
        ValueError: the tables do not belong together, or there is none of the images that can be decoded.
        OSError: a file cannot be read or written.
    """
    described, done = descriptions(shard), Written()
    with whole_file(url) as path:
        write_tar(path, _samples(shard, described, done) if described else ())
        if done.broken and not done.images:
            first = next(iter(done.broken.values()))
            raise ValueError(f"none of its {len(done.broken)} images is to be had: {first}")
        done.bytes = path.stat().st_size
    return done


def _samples(
    shard: CorpusShard, described: Mapping[str, dict[str, Any]], done: Written
) -> Iterator[tuple[str, dict[str, bytes]]]:
    missing = set[str]()
    for key, image in read_present(shard.one("images"), missing):
        if key not in described:
            continue
        try:
            jpeg = as_jpeg(image)
        except ValueError as error:
            done.broken[key] = f"cannot be decoded: {error}"
            continue
        done.images += 1
        yield key, {"jpg": jpeg, "json": as_json(described[key]), "txt": described[key]["caption"].encode()}
    done.broken |= dict.fromkeys(sorted(missing & described.keys()), "not in its tar any more")


def as_jpeg(image: bytes) -> bytes:
    """A JPEG as it is, once it was decoded; another format encoded anew.

    Raises:
        PictureError: these bytes are no image.
    """
    pixels = decode(image)
    if image.startswith(JPEG_START):
        return image
    buffer = io.BytesIO()
    pixels.save(buffer, "jpeg", quality=JPEG_QUALITY)
    return buffer.getvalue()
