"""The annotate stage, declared: the texts that a source came with, the web's or people's, as candidates."""

from __future__ import annotations

from stages.contract import Port, Recipe, RunOptions, StageSpec


class AnnotateRecipe(Recipe):
    """Nothing to choose: texts are taken as they are."""


SPEC = StageSpec(
    name="annotate",
    version=3,
    reads={"urls": Port("urls"), "images": Port("images"), "duplicates": Port("duplicates", optional=True)},
    writes="captions",
    recipe=AnnotateRecipe,
    run=RunOptions,
    compute="stages.annotate.compute:Annotate",
    implied=True,
)
