"""The stages that list what a source came with, declared: texts as candidates, and questions."""

from __future__ import annotations

from stages.contract import ASKED, EVERY_USE, Port, Recipe, RunOptions, StageSpec


class AnnotateRecipe(Recipe):
    """Nothing to choose: texts, and questions, are taken as they are."""


SPEC = StageSpec(
    name="annotate",
    version=3,
    reads={"urls": Port("urls"), "images": Port("images"), "duplicates": Port("duplicates", optional=True)},
    writes="captions",
    recipe=AnnotateRecipe,
    run=RunOptions,
    compute="stages.annotate.compute:Annotate",
    uses=EVERY_USE - ASKED,
    implied=True,
)

QUESTIONS = StageSpec(
    name="questions",
    version=1,
    reads={"urls": Port("urls"), "images": Port("images")},
    writes="questions",
    recipe=AnnotateRecipe,
    run=RunOptions,
    compute="stages.annotate.questions:Questions",
    uses=ASKED,
    implied=True,
)
