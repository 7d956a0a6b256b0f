"""Which images of a set cannot be measured on: those whose bytes were damaged after their download."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import torch

from stages.contract import CorpusShard
from stages.io.shards import read_present
from stages.io.side_by_side import side_by_side
from stages.pictures import PictureError, decode

logger = logging.getLogger(__name__)

AT_ONCE = 64
"""Encoded images in memory."""


def find_broken(shards: Iterable[CorpusShard]) -> frozenset[str]:
    """The keys of the downloaded images that cannot be decoded or are not there; each is told in the log.

    A set is measured several times over; it must be the same images each time.
    """
    broken: set[str] = set()
    images = (image for shard in shards for image in read_present(shard.one("images"), broken))
    threads, size = torch.get_num_threads(), lambda image: len(image[1])
    for (key, _), is_whole in side_by_side(_is_whole, images, threads=threads, at_once=AT_ONCE, size=size):
        if not is_whole:
            broken.add(key)
    return frozenset(broken)


def _is_whole(image: tuple[str, bytes]) -> bool:
    key, encoded = image
    try:
        decode(encoded)
    except PictureError as error:
        logger.warning("image %s is listed as downloaded but cannot be decoded, and is left out: %s", key, error)
        return False
    return True
