"""Rows that belong to groups of different sizes: a flat tensor without padding, and the padded one for attention.

Linear layers work on the flat rows, so that none of their work goes into padding; only attention, a small share of the
whole at the lengths of captions, sees the padded form.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Ragged:
    """The layout of rows in groups; rows of a group are neighbours, groups stand in order."""

    def __init__(self, sizes: Sequence[int], device: torch.device) -> None:
        """Lay out groups of these sizes; a group may be empty."""
        self._groups = len(sizes)
        self.longest = max(sizes, default=0)
        counts = torch.tensor(sizes, dtype=torch.int64)
        group = torch.repeat_interleave(torch.arange(self._groups), counts, output_size=sum(sizes))
        self.place = (torch.arange(len(group)) - (counts.cumsum(0) - counts)[group]).to(device)
        """The place of every row within its group, (rows,), int64."""
        self._slot = group.to(device) * self.longest + self.place
        self.is_even = all(size == self.longest for size in sizes)
        self.mask = torch.arange(self.longest, device=device) < counts.to(device)[:, None]
        """Where the padded form has a row, (groups, longest), bool."""

    def pad(self, rows: Tensor) -> Tensor:
        """(rows, ...) to (groups, longest, ...), zeros where a group has fewer rows."""
        if self.is_even:
            return torch.unflatten(rows, 0, (self._groups, self.longest))
        padded = rows.new_zeros((self._groups * self.longest, *rows.shape[1:]))
        return torch.unflatten(padded.index_copy_(0, self._slot, rows), 0, (self._groups, self.longest))

    def flatten(self, padded: Tensor) -> Tensor:
        """The inverse of `pad`: (groups, longest, ...) to (rows, ...)."""
        return padded.flatten(0, 1) if self.is_even else padded.flatten(0, 1)[self._slot]
