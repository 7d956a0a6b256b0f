"""The evaluate stage, declared: image-text retrieval with the pretrained Q-Former, where people wrote the captions."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stages.contract import ModelRunOptions, Port, Recipe, Seconds, StageSpec

RANKS = (1, 5, 10)
"""The k of the recalls at k that are told."""


class EvaluateRecipe(Recipe):
    """How closely it is measured, on every source whose `use` is `measure`. The models are those of `pretrain`."""

    top_k: Annotated[int, Field(ge=max(RANKS), le=1_000_000)] = 128
    """Candidates per image, and per text, that ITC finds and ITM ranks anew; 128 in BLIP-2."""


class EvaluateRun(ModelRunOptions):
    """Where and how fast it is measured; `batch_size` counts images, and texts."""

    pairs: Annotated[int, Field(ge=1, le=1_000_000)] = 256
    """Image-text pairs per forward pass of ITM."""
    deadline: Seconds = 86_400.0
    """Seconds that one attempt may take, in which all sets are measured; then its worker is replaced."""


SPEC = StageSpec(
    name="evaluate",
    version=1,
    reads={"images": Port("images"), "captions": Port("captions", many=True), "qformer": Port("qformer")},
    writes="retrieval",
    recipe=EvaluateRecipe,
    run=EvaluateRun,
    compute="stages.evaluate.compute:Evaluate",
    grain="run",
    uses=frozenset({"measure"}),
)
