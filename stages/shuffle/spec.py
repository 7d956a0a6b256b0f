"""The shuffle stage, declared: beside what people wrote of an image, what they wrote of another one.

Filters score such texts as they score all others, and nothing ever keeps one. So it is known, of every pair of scores,
whether it is of a text and its own image: what `weigh` fits the weights of several filters on.
"""

from __future__ import annotations

from stages.contract import DESCRIBED, Port, Recipe, RunOptions, Seed, StageSpec


class ShuffleRecipe(Recipe):
    """Whose text it is, is chance."""

    seed: Seed = 0
    """Another one gives images other texts."""


SPEC = StageSpec(
    name="shuffle",
    version=1,
    reads={"urls": Port("urls"), "images": Port("images"), "duplicates": Port("duplicates", optional=True)},
    writes="captions",
    recipe=ShuffleRecipe,
    run=RunOptions,
    compute="stages.shuffle.compute:Shuffle",
    uses=DESCRIBED,
)
