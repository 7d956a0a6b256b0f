"""Whether one model is better than another on the same images: the paired bootstrap of the difference.

Images are drawn with replacement, as many as there are, and each with all that was measured of it by both models: what
makes an image hard makes it so for both, and its texts are no further witnesses. The interval is that of percentiles
(Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3). It says what other images of the kind
would show; that another training with another seed would differ, too, it does not say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Column = NDArray[np.float64]
"""(images,): a number of each."""
RESAMPLES: Final = 10_000
LEVEL: Final = 0.95
SEED: Final = 0
AT_ONCE: Final = 4_000_000
"""Images that are drawn at once: some 100 MB."""


class Share(NamedTuple):
    """A measure that is a sum over images by another one."""

    found: Column
    of: Column
    """At least 1 in all; an image that has none of it counts by its `found` alone, which is 0 then."""


@dataclass(frozen=True)
class Difference:
    """By how much a measure has grown, and between what bounds that lies."""

    value: float
    low: float
    high: float
    images: int

    @property
    def verdict(self) -> str:
        """`gain` or `loss` where the interval lies on one side of 0, else `none`."""
        return "gain" if self.low > 0 else "loss" if self.high < 0 else "none"


def paired_difference(
    before: Sequence[Share], after: Sequence[Share], *, resamples: int = RESAMPLES, seed: int = SEED
) -> Difference:
    """The difference of two measures, each the mean of its shares, and its interval of 95 %.

    Args:
        before: the shares of the one, all of the same images in the same order.
        after: those of the other, of these images too.
        resamples: how often all images are drawn.
        seed: of the draws; the same numbers give the same interval.

    Raises:
        ValueError: there is no image.
    """
    table = np.stack([column for share in (*before, *after) for column in share], axis=1)
    images = len(table)
    if not images:
        raise ValueError("there is no image to draw")
    rng, drawn = np.random.default_rng(seed), list[Column]()
    rows = max(1, AT_ONCE // images)
    for first in range(0, resamples, rows):
        often = _how_often(rng, min(rows, resamples - first), images)
        drawn.append(_difference(often @ table, len(before)))
    low, high = np.quantile(np.concatenate(drawn), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    (value,) = _difference(table.sum(axis=0, keepdims=True), len(before))
    return Difference(float(value), float(low), float(high), images)


def _how_often(rng: np.random.Generator, rows: int, images: int) -> Column:
    """How often each image is drawn in each of so many resamples; (rows, images)."""
    drawn = rng.integers(0, images, (rows, images)) + np.arange(rows)[:, None] * images
    return np.bincount(drawn.ravel(), minlength=rows * images).reshape(rows, images).astype(np.float64)


def _difference(sums: Column, shares_before: int) -> Column:
    """Of sums, (rows, 2 x shares), the mean of the later shares less that of the first ones; (rows,)."""
    shares = sums[:, 0::2] / np.maximum(sums[:, 1::2], 1)
    difference: Column = shares[:, shares_before:].mean(axis=1) - shares[:, :shares_before].mean(axis=1)
    return difference
