"""The selection of one shard: tables of candidates and of their scores in, a table of verdicts out."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stages.candidates import CANDIDATE, are_among, candidate_ids, read_candidates, scores_of, writers_of
from stages.contract import Output, RunOptions, Shard
from stages.io.shards import part_of
from stages.select.join import joined
from stages.select.rules import REASONS, Candidates, Verdicts, keep_best
from stages.select.spec import SelectRecipe
from stages.tables import SELECTION
from stages.texts import EMPTY, text_codes, word_counts
from stages.weights import weighted


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
        captions, shuffled = table["caption"].to_pylist(), pc.equal(table["origin"], "shuffled").to_numpy()
        candidates = Candidates(
            image=image,
            candidate=place,
            writer=writers_of(place),
            text=np.where(shuffled, EMPTY, text_codes(captions)),
            human=pc.equal(table["origin"], "human").to_numpy(),
            shuffled=shuffled,
            common=_common(table, shard),
            clip=self._ranking(table, shard),
            itm=self._matches(table, shard),
        )
        recipe = self._recipe
        verdicts = keep_best(candidates, k=recipe.k, itm_threshold=recipe.itm_threshold, per_writer=recipe.per_writer)
        return _output(table, image, verdicts)

    def _ranking(self, table: pa.Table, shard: Shard) -> NDArray[np.float64] | None:
        """What candidates are ranked by."""
        scores = shard.maybe("similarities")
        if scores is None:
            return None
        cosines = scores_of(table, scores.table(), "clip_score").astype(np.float64)
        return cosines - self._recipe.length_penalty * word_counts(table["caption"].to_pylist())

    def _matches(self, table: pa.Table, shard: Shard) -> NDArray[np.float32] | None:
        """What the threshold is compared with."""
        found = [scores_of(table, scores.table(), "itm_score") for scores in shard.all("matches")]
        if not found or self._recipe.join != "fitted":
            return joined(found, self._recipe.join) if found else None
        weights = shard.one("weights").table(["filter", "weight"]).sort_by("filter")
        return weighted(found, weights["weight"].to_numpy())


def _common(table: pa.Table, shard: Shard) -> NDArray[np.bool_]:
    repeats = shard.maybe("repeats")
    if repeats is None:
        return np.zeros(table.num_rows, np.bool_)
    return are_among(table, part_of(repeats, shard.name, CANDIDATE))


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
