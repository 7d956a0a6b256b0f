"""The select stage, declared: which candidates make the bootstrapped corpus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from stages.contract import CAPTIONED, LEARNT_FROM, Port, Problems, Recipe, RunOptions, StageSpec, Wired


class SelectRecipe(Recipe):
    """How many candidates an image keeps, and what may not be kept."""

    k: Annotated[int, Field(ge=1, le=100_000)] | None = 2
    """Captions kept per image at most, the best by CLIP score; None keeps all that pass, and needs no `rank`."""
    itm_threshold: Annotated[float, Field(ge=0, le=1)] | None = 0.5
    """A candidate whose ITM probability is below this is noise, as in BLIP; None filters nothing."""
    join: Literal["mean", "all", "any"] = "mean"
    """What the threshold is compared with where several filters judge: their mean; each of them; or the best."""


def check(recipe: SelectRecipe, wired: Mapping[str, Wired]) -> Problems:
    """Whether the scores are there that candidates are chosen by."""
    judged = [found.roles for found in wired.values() if found.use in CAPTIONED]
    if recipe.k is not None and any("similarities" not in roles for roles in judged):
        words = "but there is no 'rank' section above; add one, or set null to keep all that pass"
        yield ("k",), f"found {recipe.k}, {words}"
    if recipe.itm_threshold is not None and any("matches" not in roles for roles in judged):
        words = "but there is no 'filter' section above; add one, or set null to rank by CLIP alone"
        yield ("itm_threshold",), f"found {recipe.itm_threshold:g}, {words}"


SPEC = StageSpec(
    name="select",
    version=3,
    reads={
        "captions": Port("captions", many=True),
        "similarities": Port("similarities", optional=True, of="captions"),
        "matches": Port("matches", many=True, optional=True, of="captions"),
    },
    writes="selection",
    recipe=SelectRecipe,
    run=RunOptions,
    compute="stages.select.compute:Select",
    uses=LEARNT_FROM,
    check=check,
    implied=True,
)
