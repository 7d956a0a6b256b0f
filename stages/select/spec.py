"""The select stage, declared: which candidates make the bootstrapped corpus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from stages.contract import CAPTIONED, LEARNT_FROM, Port, Problems, Recipe, RunOptions, StageSpec, Wired


class SelectRecipe(Recipe):
    """How many candidates an image keeps, and what may not be kept.

    Where a ranker prefers long texts whatever they say, the captioner of the longest style wins every image.
    `length_penalty` takes that off again. What a word is worth shows on texts that have nothing to do with their
    images: it is the slope of the cosine over the words, `regr_slope(clip_score, words)` in DuckDB, of the shuffled
    candidates in the view `captions`; `docs/rounds.md` has the query, and what to do without such. `per_writer` needs
    no number.
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
    weighing = {section for found in wired.values() for section in found.reads.get("weights", ())}
    if recipe.join == "fitted" and not weighing:
        words = "add 'shuffle: {}' above the first 'filter', and 'weigh: {}' between the last one and this section"
        yield ("join",), f"found \"fitted\", but there is no 'weigh' section above; {words}"
    for section in weighing if recipe.join != "fitted" else ():
        words = f"so that nothing reads the weights of '{section}'; set 'join: fitted', or leave that section out"
        yield (), f"'join' is {recipe.join}, {words}"


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
