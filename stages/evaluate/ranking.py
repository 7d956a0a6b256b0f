"""Ranks seen block by block, so that no table of all scores is ever held: the best k, and how often they are right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from math import comb

import torch
from torch import Tensor

from stages.evaluate.spec import RANKS


class Hits:
    """How often a right answer is among the best k, in memory of queries x max(RANKS).

    A query is a hit at k if its best right answer scores above its k-th best wrong one. Where both score the same it
    is none: a model that cannot tell its answers apart knows nothing.
    """

    def __init__(self, queries: int, device: torch.device) -> None:
        self._right = torch.full((queries,), -torch.inf, device=device)
        self._wrong = torch.full((queries, max(RANKS)), -torch.inf, device=device)

    def update(self, queries: slice, scores: Tensor, right: Tensor) -> None:
        """Take in answers; each is seen once.

        Args:
            queries: which ones, as many as there are rows.
            scores: (queries, answers), float32.
            right: (queries, answers), bool.
        """
        best = scores.masked_fill(~right, -torch.inf).amax(dim=1)
        self._right[queries] = self._right[queries].maximum(best)
        wrong = torch.cat([self._wrong[queries], scores.masked_fill(right, -torch.inf)], dim=1)
        self._wrong[queries] = wrong.topk(max(RANKS), dim=1).values

    def recall(self, k: int) -> float:
        """The share of queries that are a hit at k, one of RANKS."""
        return int((self._right > self._wrong[:, k - 1]).sum()) / len(self._right)


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


def chance(right: Iterable[int], answers: int, k: int) -> float:
    """The expected recall at k of an order that is drawn at random.

    Args:
        right: of every query the number of its right answers.
        answers: how many there are in all.
        k: how many of them are looked at.
    """
    looked_at = min(k, answers)
    queries = Counter(right)
    missed = sum(
        number * Fraction(comb(answers - found, looked_at), comb(answers, looked_at))
        for found, number in queries.items()
    )
    return float(1 - missed / queries.total())
