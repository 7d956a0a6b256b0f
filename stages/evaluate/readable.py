"""Which images of a set cannot be measured on: those whose bytes were damaged after their download."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import torch

from stages.contract import CorpusShard
from stages.pictures import PictureError, decode
from stages.shards import read_present

logger = logging.getLogger(__name__)

AT_ONCE = 64
"""Encoded images in memory."""


def find_broken(shards: Iterable[CorpusShard]) -> frozenset[str]:
    """The keys of the downloaded images that cannot be decoded or are not there; each is told in the log.

    A set is measured several times over; it must be the same images each time.
    """
    broken: set[str] = set()
    images = (image for shard in shards for image in read_present(shard.images, broken))
    with ThreadPoolExecutor(torch.get_num_threads(), thread_name_prefix="decode") as pool:
        while some := list(islice(images, AT_ONCE)):
            whole = pool.map(_is_whole, some)
            broken |= {key for (key, _), is_whole in zip(some, whole, strict=True) if not is_whole}
    return frozenset(broken)


def _is_whole(image: tuple[str, bytes]) -> bool:
    key, encoded = image
    try:
        decode(encoded)
    except PictureError as error:
        logger.warning("image %s is listed as downloaded but cannot be decoded, and is left out: %s", key, error)
        return False
    return True
