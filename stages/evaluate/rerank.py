"""The best of ITC, ranked anew: the raw ITM logit of "it matches" plus ITC's cosine, as BLIP and BLIP-2 do.

A sum in the published code of both, although the papers' words suggest ITM alone. What is no candidate ranks below all
that are.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from stages.evaluate.benchmark import Benchmark
from stages.evaluate.embed import ImageBatch
from stages.evaluate.models import Models
from stages.evaluate.ranking import Ranks
from stages.evaluate.similarity import BothWays, Candidates
from stages.models.family import Retriever
from stages.models.qformer.model import Text


class Pairs:
    """The pairs to look at closely: candidates of both directions, each once, image by image.

    Their number is at most (images + texts) x top_k, and that is what they take in memory.
    """

    def __init__(self, candidates: Candidates, texts: int) -> None:
        self._texts = texts
        self._candidates = candidates
        self._codes = torch.unique(torch.cat([code.flatten() for code in self._coded()]))
        self.logits = torch.full(self._codes.shape, torch.nan, device=self._codes.device)
        """(pairs,), float32: how sure ITM is; not a number until it was asked."""

    def of(self, image: int) -> tuple[Tensor, Tensor]:
        """Where an image's pairs stand in `logits`, and their texts; (pairs,), int64, each."""
        ends = torch.tensor([image, image + 1], device=self._codes.device) * self._texts
        first, last = torch.searchsorted(self._codes, ends).tolist()
        return torch.arange(first, last, device=self._codes.device), self._codes[first:last] % self._texts

    def scores(self) -> list[Tensor]:
        """Logit plus cosine of the candidates, both ways: (images, k) and (texts, k)."""
        logits = [self.logits[torch.searchsorted(self._codes, code)] for code in self._coded()]
        return [logit + found.scores for logit, found in zip(logits, self._candidates, strict=True)]

    def _coded(self) -> list[Tensor]:
        """The candidates as numbers, image * texts + text, both ways."""
        return [images * self._texts + texts for images, texts in self._candidates.pairs()]


def rerank(
    models: Models, images: Iterable[ImageBatch], benchmark: Benchmark, candidates: Candidates, pairs_at_once: int
) -> BothWays:
    """Rank the candidates by ITM; the features of one batch of images are in memory at a time.

    Args:
        models: what judges.
        images: every image of the benchmark, in any order.
        benchmark: which belong together.
        candidates: what ITC has found.
        pairs_at_once: per forward pass.

    Raises:
        UserError: a logit is not finite.
    """
    pairs = Pairs(candidates, len(benchmark.texts))
    text = models.retriever.tokens(benchmark.texts).to(models.device)
    for batch in images:
        for image, features in zip(batch.numbers.tolist(), torch.split(batch.features, 1), strict=True):
            places, texts = pairs.of(image)
            asked = Text(text.ids[texts], text.real[texts])
            pairs.logits[places] = _match(models.retriever, features, asked, pairs_at_once)
    models.numbers.check_all(pairs.logits, "logits of ITM")
    return BothWays(
        *(
            _judged(scores, benchmark.is_right(*numbers))
            for scores, numbers in zip(pairs.scores(), candidates.pairs(), strict=True)
        )
    )


def _judged(scores: Tensor, right: Tensor) -> Ranks:
    ranks = Ranks(len(scores), scores.device)
    ranks.find(slice(None), scores, right)
    ranks.count(slice(None), scores, right)
    return ranks


def _match(retriever: Retriever, features: Tensor, text: Text, pairs_at_once: int) -> Tensor:
    """ITM's logits of one image, (1, tokens, width), with many texts; short ones go together, for little padding."""
    logits, seen = torch.empty(len(text.ids), device=features.device), retriever.look(features)
    for part in torch.split(text.real.sum(dim=1).argsort(), pairs_at_once):
        asked = Text(text.ids[part], text.real[part])
        logits[part] = retriever.match(seen, asked.cut(int(asked.longest)))[:, 1].float()
    return logits
