"""The filter stage, declared: BLIP's matching probability of every candidate with its image."""

from __future__ import annotations

from stages.contract import ModelRunOptions, PretrainedRecipe, StageSpec


class FilterRecipe(PretrainedRecipe):
    """Which BLIP matching model. The threshold is the select stage's, so that another one costs no GPU."""


SPEC = StageSpec(
    name="filter",
    version=2,
    inputs=("download", "dedup", "caption"),
    recipe=FilterRecipe,
    run=ModelRunOptions,
    compute="stages.filter.compute:Filter",
)
