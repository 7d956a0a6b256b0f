"""The select stage, declared: which candidates make the bootstrapped corpus."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stages.contract import Recipe, RunOptions, StageSpec


class SelectRecipe(Recipe):
    """How many candidates an image keeps, and what may not be kept."""

    k: Annotated[int, Field(ge=1, le=1001)] = 2
    """Captions kept per image at most: the best by CLIP score."""
    itm_threshold: Annotated[float, Field(ge=0, le=1)] | None = 0.5
    """A candidate whose ITM probability is below this is noise, as in BLIP; None filters nothing."""


SPEC = StageSpec(
    name="select",
    version=2,
    inputs=("caption", "rank", "filter"),
    recipe=SelectRecipe,
    run=RunOptions,
    compute="stages.select.compute:Select",
)
"""A human source has the one input `annotate` instead; a manifest without a filter stage has no `filter`."""
