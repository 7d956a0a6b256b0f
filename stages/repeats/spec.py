"""The repeats stage, declared: texts that too many images of a source have, and which of these may keep them.

It counts the images that have a text as a *candidate*, whoever wrote it and whatever becomes of it: so it stands above
`select`, which then chooses among what is left of an image. Of the images that keep such a text fewer may do so in the
end, for another candidate may rank higher there, and never more.
"""

from __future__ import annotations

from stages.contract import CAPTIONED, AtOnceRunOptions, Count, Port, Recipe, StageSpec


class RepeatsRecipe(Recipe):
    """How common a text may be."""

    most: Count
    """Images of a source that may keep the same text (up to case and blanks). They are those of the smallest hashes of
    key and text, so that a list that grows moves few; what people wrote of an image is counted first, and always kept.
    """


SPEC = StageSpec(
    name="repeats",
    version=1,
    reads={"captions": Port("captions", many=True)},
    writes="repeats",
    recipe=RepeatsRecipe,
    run=AtOnceRunOptions,
    compute="stages.repeats.compute:Repeats",
    grain="source",
    uses=CAPTIONED,
)
