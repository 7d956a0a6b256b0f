"""The rank and filter stages, declared: two numbers of every candidate and its image, by which `select` chooses.

Both run a model that compares images with texts, and share their compute; each says what of it counts.
"""

from __future__ import annotations

from typing import Annotated, Final

from stages.contract import (
    CAPTIONED,
    DESCRIBED,
    ModelRunOptions,
    PairModelRecipe,
    Port,
    StageSpec,
    Use,
    WhichSources,
)


class RankRecipe(PairModelRecipe):
    """Which model orders the candidates: CLIP and its like by their cosine, a matching model by its probability."""


class FilterRecipe(PairModelRecipe):
    """Which model gives the probability of a match: BLIP's, BLIP-2's, or a SigLIP.

    The threshold is the select stage's, so that another one costs no GPU.
    """

    pairs: Annotated[bool, WhichSources()] = False
    """Whether what people wrote of sources with `use: pairs` is judged, too. Nothing of it is left out for that: it is
    what `weigh` reads."""


def _uses(recipe: FilterRecipe) -> frozenset[Use]:
    return CAPTIONED | DESCRIBED if recipe.pairs else CAPTIONED


_READS: Final = {
    "images": Port("images"),
    "duplicates": Port("duplicates", optional=True),
    "captions": Port("captions", many=True),
}

RANK = StageSpec(
    name="rank",
    version=3,
    reads=_READS,
    writes="similarities",
    recipe=RankRecipe,
    run=ModelRunOptions,
    model="ranker",
    compute="stages.score.compute:Rank",
    uses=CAPTIONED,
)

FILTER = StageSpec(
    name="filter",
    version=3,
    reads=_READS,
    writes="matches",
    recipe=FilterRecipe,
    run=ModelRunOptions,
    model="filter",
    compute="stages.score.compute:Filter",
    uses=CAPTIONED | DESCRIBED,
    narrow=_uses,
)
