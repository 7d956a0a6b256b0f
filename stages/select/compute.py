"""The selection of one shard: a table of candidates and their scores in, a table of verdicts out."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.contract import Output, RunOptions, Shard
from stages.select.join import candidate_ids, scores_of
from stages.select.rules import REASONS, Candidates, Verdicts, keep_all, keep_best
from stages.select.spec import SelectRecipe
from stages.select.texts import text_codes
from stages.tables import SELECT


class Select:
    """Applies the threshold, the distinctness rule and the best k; human annotations are kept as they are."""

    def __init__(self, recipe: SelectRecipe, run: RunOptions) -> None:
        del run
        self._recipe = recipe

    def __call__(self, shard: Shard) -> Output:
        """Select among a shard's candidates.

        Raises:
            ValueError: the tables do not cover the same candidates, or a threshold is set and no filter ran.
        """
        if "annotate" in shard.inputs:
            captions = shard.inputs["annotate"].table(["key", "candidate"])
            image, candidate = candidate_ids(captions)
            return _output(captions, image, keep_all(image, candidate))
        return self._select(shard)

    def _select(self, shard: Shard) -> Output:
        captions = shard.inputs["caption"].table(["key", "candidate", "caption"])
        image, candidate = candidate_ids(captions)
        candidates = Candidates(
            image=image,
            candidate=candidate,
            text=text_codes(captions["caption"].to_pylist()),
            clip=scores_of(captions, shard.inputs["rank"].table(), "clip_score"),
            itm=self._itm_scores(captions, shard),
        )
        verdicts = keep_best(candidates, k=self._recipe.k, itm_threshold=self._recipe.itm_threshold)
        return _output(captions, image, verdicts)

    def _itm_scores(self, captions: pa.Table, shard: Shard) -> NDArray[np.float32] | None:
        if "filter" not in shard.inputs:
            return None
        return scores_of(captions, shard.inputs["filter"].table(), "itm_score")


def _output(captions: pa.Table, image: NDArray[np.int64], verdicts: Verdicts) -> Output:
    reasons = pa.DictionaryArray.from_arrays(pa.array(verdicts.reason), pa.array(REASONS)).dictionary_decode()
    columns = [
        captions["key"],
        captions["candidate"],
        pa.array(verdicts.rank, mask=verdicts.rank == 0),
        pa.array(verdicts.kept),
        reasons,
    ]
    counts = {
        "images": len(np.unique(image)),
        "kept": int(verdicts.kept.sum()),
        "images_kept": len(np.unique(image[verdicts.kept])),
    }
    by_reason = zip(REASONS, np.bincount(verdicts.reason, minlength=len(REASONS)).tolist(), strict=True)
    counts |= {reason: count for reason, count in by_reason if reason != "kept"}  # that one is counted above
    return Output(pa.table(columns, schema=SELECT), counts=counts)
