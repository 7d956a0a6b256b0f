"""Score a shard's candidates with a model of image-text pairs. No row is dropped here."""

from __future__ import annotations

from typing import Literal

import pyarrow as pa

from stages.contract import ModelRunOptions, Output, PairModelRecipe, Shard
from stages.models.device import limit_threads, resolve_device
from stages.models.families import load_scorer
from stages.models.family import ModelName
from stages.models.finite import NumberFormat
from stages.score.scoring import score_shard
from stages.score.spec import FilterRecipe, RankRecipe
from stages.tables import MATCHES, SIMILARITIES


class Score:
    """What rank and filter have in common: all but what the model is asked for, and where its number goes."""

    def __init__(
        self,
        section: str,
        role: Literal["ranker", "filter"],
        schema: pa.Schema,
        recipe: PairModelRecipe,
        run: ModelRunOptions,
    ) -> None:
        limit_threads(run.threads)
        self._batch_size = run.batch_size
        self._schema = schema
        self._numbers = NumberFormat(section, recipe.dtype)
        self._scorer = load_scorer(
            ModelName(f"{section}.model", recipe.model, recipe.pretrained, recipe.revision),
            role,
            recipe.dtype,
            resolve_device(run.device, f"{section}.run.device"),
        )

    def __call__(self, shard: Shard) -> Output:
        """Score one shard; see `score_shard`."""
        return score_shard(self._scorer, shard, self._batch_size, self._numbers, self._schema)


class Rank(Score):
    """The rank stage's compute."""

    def __init__(self, recipe: RankRecipe, run: ModelRunOptions) -> None:
        super().__init__("rank", "ranker", SIMILARITIES, recipe, run)


class Filter(Score):
    """The filter stage's compute."""

    def __init__(self, recipe: FilterRecipe, run: ModelRunOptions) -> None:
        super().__init__("filter", "filter", MATCHES, recipe, run)
