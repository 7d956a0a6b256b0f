"""The annotate stage, declared: the captions that people wrote for a source's images, as candidates."""

from __future__ import annotations

from stages.contract import Recipe, RunOptions, StageSpec


class AnnotateRecipe(Recipe):
    """Nothing to choose: human captions are taken as they are."""


SPEC = StageSpec(
    name="annotate",
    version=2,
    inputs=("urls", "download"),
    recipe=AnnotateRecipe,
    run=RunOptions,
    compute="stages.annotate.compute:Annotate",
)
