"""Score a shard's candidates with BLIP's matching head. No row is dropped here."""

from __future__ import annotations

from stages.contract import ModelRunOptions, Output, Shard
from stages.filter.spec import FilterRecipe
from stages.models.blip.itm import load_itm
from stages.models.device import limit_threads, resolve_device, torch_dtype
from stages.models.finite import NumberFormat
from stages.models.loading import find_source
from stages.models.scoring import score_shard
from stages.tables import MATCHES


class Filter:
    """The filter stage's compute."""

    def __init__(self, recipe: FilterRecipe, run: ModelRunOptions) -> None:
        limit_threads(run.threads)
        self._batch_size = run.batch_size
        self._numbers = NumberFormat("filter", recipe.dtype)
        self._scorer = load_itm(
            find_source(recipe.model, recipe.revision, "filter.model"),
            dtype=torch_dtype(recipe.dtype),
            device=resolve_device(run.device, "filter.run.device"),
        )

    def __call__(self, shard: Shard) -> Output:
        """Score one shard; the table is `tables.MATCHES`, row for row as the caption table."""
        return score_shard(self._scorer, shard, self._batch_size, self._numbers, MATCHES)
