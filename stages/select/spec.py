"""The select stage, declared: which candidates make the bootstrapped corpus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from stages.contract import CAPTIONED, LEARNT_FROM, Port, Problems, Recipe, RunOptions, StageSpec, Wired


class SelectRecipe(Recipe):
    """How many candidates an image keeps, and what may not be kept.

    CLIP's cosine grows with a text's length, whatever it says, so of several captioners the one of the longest style
    would win. `length_penalty` takes that off again. What a word is worth to a ranker is measured on the captions that
    are there, within images, since long texts may be those of certain images; see `docs/rounds.md`. `per_writer` needs
    no number to be measured.
    """

    k: Annotated[int, Field(ge=1, le=100_000)] | None = 2
    """Captions kept per image at most, the best by CLIP score; None keeps all that pass, and needs no `rank`."""
    itm_threshold: Annotated[float, Field(ge=0, le=1)] | None = 0.5
    """A candidate whose ITM probability is below this is noise, as in BLIP; None filters nothing."""
    join: Literal["mean", "all", "any", "fitted"] = "mean"
    """What the threshold is compared with where several filters judge: their mean; each of them; the best; or the
    probability that the weights give which `weigh` has fitted."""
    length_penalty: Annotated[float, Field(ge=0, le=1)] = 0.0
    """What a candidate's rank is worse for each of its words: candidates are ranked by cosine - length_penalty * words.
    """
    per_writer: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Captions of one writer that an image keeps at most; None sets no such bound. People are no such writers."""


def check(recipe: SelectRecipe, wired: Mapping[str, Wired]) -> Problems:
    """Whether the scores are there that candidates are chosen by."""
    judged = [found.roles for found in wired.values() if found.use in CAPTIONED]
    if recipe.k is not None and any("similarities" not in roles for roles in judged):
        words = "but there is no 'rank' section above; add one, or set null to keep all that pass"
        yield ("k",), f"found {recipe.k}, {words}"
    if recipe.itm_threshold is not None and any("matches" not in roles for roles in judged):
        words = "but there is no 'filter' section above; add one, or set null to rank by CLIP alone"
        yield ("itm_threshold",), f"found {recipe.itm_threshold:g}, {words}"
    if recipe.length_penalty and all("similarities" not in roles for roles in judged):
        words = "but there is no 'rank' section above, whose cosines it is taken off; add one, or leave this out"
        yield ("length_penalty",), f"found {recipe.length_penalty:g}, {words}"
    has_weights = any("weights" in found.roles for found in wired.values())
    if recipe.join == "fitted" and not has_weights:
        words = "add 'shuffle: {}' above the first 'filter', and 'weigh: {}' between the last one and this section"
        yield ("join",), f"found \"fitted\", but there is no 'weigh' section above; {words}"
    if recipe.join != "fitted" and has_weights:
        words = "so that nothing reads the weights of 'weigh'; set it to fitted, or leave that section out"
        yield ("join",), f'found "{recipe.join}", {words}'


SPEC = StageSpec(
    name="select",
    version=3,
    reads={
        "captions": Port("captions", many=True),
        "similarities": Port("similarities", optional=True, of="captions"),
        "matches": Port("matches", many=True, optional=True, of="captions"),
        "weights": Port("weights", optional=True, of="matches"),
        "repeats": Port("repeats", optional=True, of="captions"),
    },
    writes="selection",
    recipe=SelectRecipe,
    run=RunOptions,
    compute="stages.select.compute:Select",
    uses=LEARNT_FROM,
    check=check,
    implied=True,
)
