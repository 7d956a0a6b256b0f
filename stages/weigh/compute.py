"""Fits how filters' scores tell texts from those of other images, and measures that on images held out of it."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stages.candidates import CANDIDATE, read_candidates, scores_of
from stages.contract import CorpusJob, CorpusShard, Output, RunOptions
from stages.errors import UserError
from stages.io.side_by_side import side_by_side
from stages.metrics.roc import roc_auc
from stages.tables import WEIGHTS
from stages.training.order import mix
from stages.weigh.fit import fit
from stages.weigh.spec import WeighRecipe
from stages.weights import log_odds

READERS: Final = 8
"""Shards that are read at once."""


class Texts(NamedTuple):
    """Texts that every filter has scored."""

    odds: NDArray[np.float64]
    """(texts, filters): log-odds."""
    own: NDArray[np.bool_]
    """Whether people wrote it of its image; else of another one."""
    held_out: NDArray[np.bool_]
    """Whether it is measured on, as are all texts of its image; else it is fitted on."""


class Weigh:
    """The weigh stage's compute."""

    def __init__(self, recipe: WeighRecipe, run: RunOptions) -> None:
        del recipe, run

    def __call__(self, work: CorpusJob) -> Output:
        """Fit on one half of the images that filters judged, and measure on the other.

        Raises:
            UserError: one of the halves lacks texts of a sort.
        """
        judged = [shard for shard in work.corpus if shard.all("matches")]
        read = [texts for _, texts in side_by_side(_read, judged, threads=READERS, at_once=READERS)]
        texts = Texts(*(np.concatenate(column) for column in zip(*read, strict=True))) if read else _NONE
        for name, half in (("fitted", ~texts.held_out), ("measured", texts.held_out)):
            own = texts.own[half]
            if not own.any() or own.all():
                scored = f"{own.sum()} own and {(~own).sum()} shuffled texts"
                raise UserError(f"weigh: the filters scored {scored} of the half that is {name} on; add human images")
        table = weigh(texts)
        return Output(table, counts={"texts": len(texts.own), "held out": int(texts.held_out.sum())})


_NONE: Final = Texts(np.empty((0, 1)), np.empty(0, np.bool_), np.empty(0, np.bool_))


def weigh(texts: Texts) -> pa.Table:
    """The weights of filters, as `tables.WEIGHTS` has them."""
    odds, own, held_out = texts
    weights = fit(odds[~held_out], own[~held_out])
    columns = [weights[0] + odds @ weights[1:], *odds.T]
    areas = [roc_auc(column[held_out], own[held_out]) for column in columns]
    counts = [np.full(len(weights), count) for count in ((own & ~held_out).sum(), (~own & ~held_out).sum())]
    measured = np.full(len(weights), held_out.sum())
    return pa.table([np.arange(len(weights), dtype=np.int16), weights, areas, *counts, measured], schema=WEIGHTS)


def _read(shard: CorpusShard) -> Texts:
    table = read_candidates(shard, ["origin"])
    scores = [scores_of(table, found.table([*CANDIDATE, "itm_score"]), "itm_score") for found in shard.all("matches")]
    wanted = pc.is_in(table["origin"], pa.array(["human", "shuffled"])).to_numpy()
    wanted &= ~np.isnan(scores).any(axis=0)
    own = pc.equal(table["origin"], "human").to_numpy()[wanted]
    keys = table["key"].filter(pa.array(wanted)).to_pylist()
    held_out = np.fromiter((mix("weigh", key) % 2 == 0 for key in keys), np.bool_, len(keys))
    return Texts(log_odds(scores)[wanted], own, held_out)
