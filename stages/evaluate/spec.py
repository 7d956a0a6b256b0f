"""The evaluate stage, declared: image-text retrieval where people wrote the captions, with one model or several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, model_validator

from stages.contract import (
    Dtype,
    ModelRunOptions,
    OptionalModelRef,
    Port,
    Problems,
    Recipe,
    Seconds,
    StageSpec,
    Wired,
)

RANKS = (1, 5, 10)
"""The k of the recalls at k that are told."""
Candidates = Annotated[int, Field(ge=max(RANKS), le=1_000_000)]
"""Per image, and per text."""


class EvaluateRecipe(Recipe):
    """What is measured, and how closely, on every source whose `use` is `measure`.

    The Q-Former that `pretrain` made, if there is one above, and `matcher`, if one is named.
    """

    top_k: Candidates = 128
    """Candidates that the Q-Former's ITC finds and its ITM ranks anew; 128 in BLIP-2."""
    matcher: OptionalModelRef = None
    """A matching model, of BLIP (`BlipForImageTextRetrieval`) or of BLIP-2."""
    matcher_revision: str | None = None
    """The hub commit (or tag) of `matcher`; None for a local folder."""
    matcher_top_k: Candidates = 256
    """The same for `matcher`; 256 in BLIP on COCO, 128 on Flickr30k."""
    dtype: Dtype = "float32"
    """The number format that `matcher` computes in; the Q-Former computes as it did in its training."""

    @model_validator(mode="after")
    def _check(self) -> EvaluateRecipe:
        if self.matcher is None and self.matcher_revision is not None:
            raise ValueError("matcher_revision names a commit of `matcher`, which is not set; leave it out")
        return self


class EvaluateRun(ModelRunOptions):
    """Where and how fast it is measured; `batch_size` counts images, and texts."""

    pairs: Annotated[int, Field(ge=1, le=1_000_000)] = 256
    """Image-text pairs per forward pass of ITM."""
    deadline: Seconds = 86_400.0
    """Seconds that one attempt may take, in which all sets are measured; then its worker is replaced."""


def check(recipe: EvaluateRecipe, wired: Mapping[str, Wired]) -> Problems:
    """Whether there is a model to measure."""
    if wired and recipe.matcher is None and not any("qformer" in found.roles for found in wired.values()):
        yield (), "has no model to measure; name a `matcher`, or add a section 'pretrain' above it"


SPEC = StageSpec(
    name="evaluate",
    version=2,
    reads={
        "images": Port("images"),
        "captions": Port("captions", many=True),
        "qformer": Port("qformer", optional=True),
    },
    writes="retrieval",
    recipe=EvaluateRecipe,
    run=EvaluateRun,
    models={"matcher": "retriever"},
    compute="stages.evaluate.compute:Evaluate",
    grain="run",
    check=check,
    uses=frozenset({"measure"}),
)
