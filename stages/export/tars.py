"""A shard of the corpus as a WebDataset tar, as LAVIS reads LAION: `jpg`, `json` (ranked captions), `txt` (best)."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence

from stages.contract import CorpusShard
from stages.corpus import kept_captions
from stages.files import whole_file
from stages.pictures import decode
from stages.shards import read_images
from stages.webdataset import write_tar

JPEG_START = b"\xff\xd8\xff"
JPEG_QUALITY = 95
"""Of images that are no JPEG yet."""


def write_shard(shard: CorpusShard, url: str) -> int:
    """Write a shard's images that have a kept caption; the tar is there whole or not at all.

    Memory holds the shard's captions and one image.

    Args:
        shard: its tables.
        url: the tar, a local path or an fsspec URL.

    Returns:
        How many images it holds.

    Raises:
        ValueError: the tables and the images do not belong together, or an image cannot be decoded.
        OSError: a file cannot be read or written.
    """
    captions = kept_captions(shard)
    with whole_file(url) as path:
        write_tar(path, _samples(shard, captions) if captions else ())
    return len(captions)


def _samples(shard: CorpusShard, captions: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, dict[str, bytes]]]:
    for key, image in read_images(shard.images):
        if key in captions:
            yield key, {"jpg": as_jpeg(image), "json": ranked(captions[key]), "txt": captions[key][0].encode()}


def ranked(captions: Sequence[str]) -> bytes:
    """The captions as LAVIS wants them: a list, of which it draws one of the first two, so an only one stands twice."""
    return json.dumps([*captions, *captions] if len(captions) == 1 else captions, ensure_ascii=False).encode()


def as_jpeg(image: bytes) -> bytes:
    """A JPEG as it is; another format encoded anew.

    Raises:
        PictureError: these bytes are no image.
    """
    if image.startswith(JPEG_START):
        return image
    buffer = io.BytesIO()
    decode(image).save(buffer, "jpeg", quality=JPEG_QUALITY)
    return buffer.getvalue()
