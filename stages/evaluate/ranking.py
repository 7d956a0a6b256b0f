"""Scores seen block by block, so that no table of them is ever held: the rank of what is right, and the best k."""

from __future__ import annotations

import torch
from torch import Tensor


class Ranks:
    """Where the best right answer of every query stands, in memory of two numbers a query.

    Its rank is one more than the number of wrong answers that score as high as it does, or higher: a model that cannot
    tell its answers apart knows nothing. So all answers are seen twice, in `find` and then, with the same scores, in
    `count`.
    """

    def __init__(self, queries: int, device: torch.device) -> None:
        self._right = torch.full((queries,), -torch.inf, device=device)
        self._ahead = torch.zeros(queries, dtype=torch.int64, device=device)

    def find(self, queries: slice, scores: Tensor, right: Tensor) -> None:
        """Take in answers, to find the best right ones.

        Args:
            queries: which ones, as many as there are rows.
            scores: (queries, answers), float32.
            right: (queries, answers), bool.
        """
        best = scores.masked_fill(~right, -torch.inf).amax(dim=1)
        self._right[queries] = self._right[queries].maximum(best)

    def count(self, queries: slice, scores: Tensor, right: Tensor) -> None:
        """Take in the same answers, to count those that stand ahead."""
        self._ahead[queries] += (~right & (scores >= self._right[queries, None])).sum(dim=1)

    def ranks(self) -> list[int | None]:
        """Of every query, from 1; None where no right answer was among those that it was given."""
        found = zip(self._right.isfinite().tolist(), self._ahead.tolist(), strict=True)
        return [ahead + 1 if is_there else None for is_there, ahead in found]


class Nearest:
    """The k best answers of every query, in memory of queries x k; of equal ones the earlier."""

    def __init__(self, queries: int, k: int, device: torch.device) -> None:
        self.scores = torch.full((queries, k), -torch.inf, device=device)
        """(queries, k), float32, descending."""
        self.answers = torch.zeros((queries, k), dtype=torch.int64, device=device)
        """(queries, k), their numbers."""

    def update(self, queries: slice, scores: Tensor, first: int) -> None:
        """Take in the next answers.

        Args:
            queries: which ones, as many as there are rows.
            scores: (queries, answers), float32.
            first: the number of the first of the answers; the others follow.
        """
        numbers = torch.arange(first, first + scores.shape[1], device=scores.device).expand_as(scores)
        seen = torch.cat([self.scores[queries], scores], dim=1)
        order = seen.sort(dim=1, descending=True, stable=True).indices[:, : self.scores.shape[1]]
        self.scores[queries] = seen.gather(1, order)
        self.answers[queries] = torch.cat([self.answers[queries], numbers], dim=1).gather(1, order)
