"""Which image comes when, and every other choice that is made by chance: pure functions of the seed and the position.

Nothing has to be saved to resume at a step, and the number of workers changes none of it: the images are one endless
line, epoch after epoch, of which every step takes the next `batch_size` and every worker its part.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Draw(NamedTuple):
    """An image at its turn."""

    image: int
    epoch: int


def draws(first: int, count: int, *, images: int, seed: int) -> list[Draw]:
    """The images at positions first, first + 1, ... of the line.

    Every epoch holds every image once, in an order of its own. A batch may reach into the next epoch, and so may hold
    an image twice.
    """
    turns = (divmod(position, images) for position in range(first, first + count))
    return [Draw(int(_permutation(images, seed, epoch)[place]), epoch) for epoch, place in turns]


@lru_cache(maxsize=2)
def _permutation(images: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Images sorted by raw random numbers: those numpy promises to keep in later versions, its permutations not."""
    return np.random.Philox(key=mix("order", seed, epoch)).random_raw(images).argsort(kind="stable")


def mix(*words: str | int) -> int:
    """A number in [0, 2^63) that belongs to these words alone: a seed for whatever is drawn for them."""
    digest = blake2b("/".join(map(str, words)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
