"""Random numbers that belong to a candidate, not to a batch.

A generator that a batch shares would make a caption depend on its neighbours, on the batch size and on where a run was
resumed. Here every candidate of every image has a stream of its own, found by hashing what it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray


def uniforms(seed: int, row: str, candidate: int, steps: int) -> NDArray[np.float64]:
    """The first `steps` numbers of one candidate's stream, uniform on [0, 1); shape (steps,).

    More steps lengthen the stream and change none of its numbers. Raw Philox output is used because numpy promises
    that it stays the same in later versions, which it does not of `Generator.random`.
    """
    digest = blake2b(f"{seed}/{row}/{candidate}".encode(), digest_size=16).digest()
    raw = np.random.Philox(key=int.from_bytes(digest, "little")).random_raw(steps)
    top_bits: NDArray[np.float64] = (raw >> np.uint64(11)).astype(np.float64)  # 53 of them fill a float64 exactly
    return top_bits * 2.0**-53


def uniform_grid(seed: int, rows: Sequence[str], candidates: int, steps: int) -> NDArray[np.float64]:
    """The streams of candidates 1..n of every image; shape (images, candidates, steps)."""
    grid = np.empty((len(rows), candidates, steps))
    for place, row in enumerate(rows):
        for candidate in range(candidates):
            grid[place, candidate] = uniforms(seed, row, candidate + 1, steps)
    return grid
