"""What becomes of numbers that are none: NaN and infinity, where a model's activations outgrow its number format.

A few cost their rows, whose error says so. More than `FEW` that are also more than `MOST` of a shard's mean that the
format, or the model, is wrong, and no attempt at the same shard will find otherwise; so do fewer that are most of a
small shard's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import normalize

from stages.contract import Dtype
from stages.errors import UserError

MOST: Final = 0.01
"""The share of a shard's numbers that may be none."""
FEW: Final = 3
"""How many of them may be whatever their share, as long as they are not more than half: a small shard has neighbours,
too. One may be in any case."""
SHORTEST: Final = 1e-12
"""The length below which a vector is taken for zero; torch's own default."""


@dataclass(frozen=True)
class NumberFormat:
    """The number format that a model computes in, as the manifest names it."""

    section: str
    """The section that holds `dtype` and the model, such as `filter`."""
    dtype: Dtype
    model: str = "model"
    """The key in that section that names the model."""

    @property
    def error(self) -> str:
        """What is said of a row."""
        return f"not finite in {self.dtype}"

    @property
    def advice(self) -> str:
        """What to do about many such rows."""
        if self.dtype == "float16":
            return f"set {self.section}.dtype to bfloat16 or float32"
        if self.dtype == "bfloat16":
            return f"set {self.section}.dtype to float32"
        return f"the weights of {self.section}.{self.model} may be damaged: load them anew, or name another model"

    def check(self, bad: int, total: int, what: str) -> None:
        """See that few enough numbers are not finite.

        Args:
            bad: how many are not.
            total: of how many.
            what: their name in the plural, such as `scores`.

        Raises:
            UserError: there are more.
        """
        if bad > max(1, min(FEW, total // 2), MOST * total):
            raise self._too_many(bad, total, what)

    def check_all(self, rows: Tensor, what: str) -> None:
        """See that all rows, (rows, ...), are finite.

        Raises:
            UserError: one is not.
        """
        finite = rows.isfinite().flatten(1).all(dim=1) if rows.ndim > 1 else rows.isfinite()
        if not finite.all():
            raise self._too_many(int((~finite).sum()), len(rows), what)

    def _too_many(self, bad: int, total: int, what: str) -> UserError:
        return UserError(f"{self.section}: {bad:,} of {total:,} {what} are {self.error}; {self.advice}")


def unit(vectors: Tensor) -> Tensor:
    """Vectors (..., width) brought to length 1; NaN where one has no direction, since it is zero or not finite.

    A cosine with what is left as zero would be 0, which looks like a score.
    """
    length = vectors.norm(dim=-1, keepdim=True)
    return normalize(vectors, dim=-1, eps=SHORTEST).masked_fill(~(length.isfinite() & (length > SHORTEST)), torch.nan)
