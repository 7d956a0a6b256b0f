"""Score a shard's candidates with CLIP. No row is dropped here."""

from __future__ import annotations

from stages.contract import ModelRunOptions, Output, Shard
from stages.models.clip.loading import ClipName, load_clip
from stages.models.device import limit_threads, resolve_device
from stages.models.finite import NumberFormat
from stages.models.scoring import score_shard
from stages.rank.spec import RankRecipe
from stages.tables import SIMILARITIES


class Rank:
    """The rank stage's compute."""

    def __init__(self, recipe: RankRecipe, run: ModelRunOptions) -> None:
        limit_threads(run.threads)
        self._batch_size = run.batch_size
        self._numbers = NumberFormat("rank", recipe.dtype)
        self._scorer = load_clip(
            ClipName("rank.model", recipe.model, recipe.pretrained, recipe.revision),
            recipe.dtype,
            resolve_device(run.device, "rank.run.device"),
        )

    def __call__(self, shard: Shard) -> Output:
        """Score one shard; the table is `tables.SIMILARITIES`, row for row as the caption table."""
        return score_shard(self._scorer, shard, self._batch_size, self._numbers, SIMILARITIES)
