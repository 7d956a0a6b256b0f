"""The filter stage, declared: BLIP's matching probability of every candidate with its image."""

from __future__ import annotations

from stages.contract import CAPTIONED, ModelRunOptions, Port, PretrainedRecipe, StageSpec


class FilterRecipe(PretrainedRecipe):
    """Which BLIP matching model. The threshold is the select stage's, so that another one costs no GPU."""


SPEC = StageSpec(
    name="filter",
    version=3,
    reads={
        "images": Port("images"),
        "duplicates": Port("duplicates", optional=True),
        "captions": Port("captions", many=True),
    },
    writes="matches",
    recipe=FilterRecipe,
    run=ModelRunOptions,
    compute="stages.filter.compute:Filter",
    uses=CAPTIONED,
)
