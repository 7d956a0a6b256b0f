"""The weigh stage, declared: how much each of several filters counts, where `select` joins them by fitted weights.

It costs no model: what the filters say of people's texts, each beside its own image and beside another one (`shuffle`),
is in their tables.
"""

from __future__ import annotations

from collections.abc import Mapping

from stages.contract import DESCRIBED, Port, Problems, Recipe, RunOptions, StageSpec, Wired


class WeighRecipe(Recipe):
    """Nothing to choose: a logistic regression, with the usual small penalty on large weights."""


def check(recipe: WeighRecipe, wired: Mapping[str, Wired]) -> Problems:
    """Whether the same filters judge own and other texts of some source."""
    del recipe
    judged = {source: found for source, found in wired.items() if "matches" in found.roles}
    if not judged:
        words = "no 'filter' above judges what people wrote; set 'pairs: true' in it"
        yield (), f"reads what filters say of texts that people wrote, and {words}"
    if any("shuffle" not in found.reads["captions"].values() for found in judged.values()):
        yield (), "needs a text of another image beside each own one; add 'shuffle: {}' above the first 'filter'"
    filters = dict.fromkeys(section for found in judged.values() for section in found.reads["matches"])
    for source, found in judged.items():
        for section in (section for section in filters if section not in found.reads["matches"]):
            yield (), f"'{section}' judges no text of '{source}', as other filters do; set 'pairs: true' in '{section}'"


SPEC = StageSpec(
    name="weigh",
    version=1,
    reads={
        "captions": Port("captions", many=True),
        "matches": Port("matches", many=True, optional=True, of="captions"),
    },
    writes="weights",
    recipe=WeighRecipe,
    run=RunOptions,
    compute="stages.weigh.compute:Weigh",
    grain="run",
    check=check,
    uses=DESCRIBED,
)
