"""Score a shard's candidates with CLIP. No row is dropped here."""

from __future__ import annotations

import pyarrow as pa

from stages.contract import ModelRunOptions, Output, Shard
from stages.models.clip_loading import ClipName, load_clip
from stages.models.device import limit_threads, resolve_device
from stages.models.scoring import score_captions
from stages.rank.spec import RankRecipe
from stages.shards import duplicates
from stages.tables import RANK


class Rank:
    """The rank stage's compute."""

    def __init__(self, recipe: RankRecipe, run: ModelRunOptions) -> None:
        limit_threads(run.threads)
        self._batch_size = run.batch_size
        self._scorer = load_clip(
            ClipName("rank.model", recipe.model, recipe.pretrained, recipe.revision),
            recipe.dtype,
            resolve_device(run.device, "rank.run.device"),
        )

    def __call__(self, shard: Shard) -> Output:
        """Score one shard; the table is `tables.RANK`, row for row as the caption table."""
        captions = shard.inputs["caption"].table(["key", "candidate", "caption"])
        scores = score_captions(
            self._scorer, shard.inputs["download"], captions, self._batch_size, without=duplicates(shard)
        )
        table = pa.table([captions["key"], captions["candidate"], pa.array(scores, pa.float32())], schema=RANK)
        unscored = scores.count(None)
        return Output(table, counts={"scored": len(scores) - unscored, "empty": unscored})
