"""The selection of one shard: tables of candidates and of their scores in, a table of verdicts out."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stages.candidates import CANDIDATE, read_candidates
from stages.contract import Output, RunOptions, Shard
from stages.select.join import candidate_ids, joined, scores_of
from stages.select.rules import REASONS, Candidates, Verdicts, keep_best
from stages.select.spec import SelectRecipe
from stages.select.texts import text_codes
from stages.tables import SELECTION


class Select:
    """Applies the threshold, the distinctness rule and the best k; what people wrote is kept as it is."""

    def __init__(self, recipe: SelectRecipe, run: RunOptions) -> None:
        del run
        self._recipe = recipe

    def __call__(self, shard: Shard) -> Output:
        """Select among a shard's candidates.

        Raises:
            ValueError: the tables do not cover the same candidates.
        """
        table = read_candidates(shard, ["origin", "caption"])
        image, place = candidate_ids(table)
        candidates = Candidates(
            image=image,
            candidate=place,
            text=text_codes(table["caption"].to_pylist()),
            human=pc.equal(table["origin"], "human").to_numpy(),
            clip=self._similarities(table, shard),
            itm=self._matches(table, shard),
        )
        verdicts = keep_best(candidates, k=self._recipe.k, itm_threshold=self._recipe.itm_threshold)
        return _output(table, image, verdicts)

    def _similarities(self, table: pa.Table, shard: Shard) -> NDArray[np.float32] | None:
        scores = shard.maybe("similarities")
        return None if scores is None else scores_of(table, scores.table(), "clip_score")

    def _matches(self, table: pa.Table, shard: Shard) -> NDArray[np.float32] | None:
        found = [scores_of(table, scores.table(), "itm_score") for scores in shard.all("matches")]
        return joined(found, self._recipe.join) if found else None


def _output(table: pa.Table, image: NDArray[np.int64], verdicts: Verdicts) -> Output:
    reasons = pa.DictionaryArray.from_arrays(pa.array(verdicts.reason), pa.array(REASONS)).dictionary_decode()
    columns = [
        *(table[name] for name in CANDIDATE),
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
    return Output(pa.table(columns, schema=SELECTION), counts=counts)
