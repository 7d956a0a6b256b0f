"""Texts without padding: the tokens of a batch in one line, and where each text ends."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from stages.training.gather import gather, maximum

Batch = TypeVar("Batch", bound=NamedTuple)


class Texts(NamedTuple):
    """Texts one behind the other."""

    ids: Tensor
    """(tokens,), int64."""
    lengths: tuple[int, ...]
    """Tokens of each text, at least one."""

    @classmethod
    def of(cls, tokens: Sequence[Sequence[int]]) -> Texts:
        """The same from lists of tokens."""
        return cls(torch.tensor([token for text in tokens for token in text]), tuple(map(len, tokens)))

    @property
    def starts(self) -> list[int]:
        """Where each text begins."""
        return [0, *accumulate(self.lengths)][:-1]

    def to(self, device: torch.device) -> Texts:
        """The same on a device."""
        return Texts(self.ids.to(device), self.lengths)

    def begin_with(self, mark: int) -> Texts:
        """The same texts with another first token."""
        return Texts(self.ids.index_fill(0, torch.tensor(self.starts, device=self.ids.device), mark), self.lengths)

    def pick(self, which: Sequence[int]) -> Texts:
        """Those texts, in that order; a text may come several times."""
        starts = self.starts
        index = [place for text in which for place in range(starts[text], starts[text] + self.lengths[text])]
        return Texts(self.ids[torch.tensor(index, device=self.ids.device)], tuple(self.lengths[text] for text in which))

    def everybodys(self) -> Texts:
        """The texts of all workers, in the order of their ranks; every worker has as many."""
        lengths = torch.tensor(self.lengths, device=self.ids.device)
        place = torch.arange(int(maximum(lengths.amax())), device=self.ids.device)
        padded = self.ids.new_zeros((len(lengths), len(place)))
        padded[place < lengths[:, None]] = self.ids
        lengths = gather(lengths)
        return Texts(gather(padded)[place < lengths[:, None]], tuple(lengths.tolist()))


def moved(batch: Batch, device: torch.device) -> Batch:
    """A batch on a device: its tensors and texts, and those of batches in it; what else it holds stays as it is."""
    return batch._replace(**{name: _moved(part, device) for name, part in batch._asdict().items()})


def _moved(part: Any, device: torch.device) -> Any:
    if isinstance(part, Tensor | Texts):
        return part.to(device)
    return moved(part, device) if hasattr(part, "_replace") else part
