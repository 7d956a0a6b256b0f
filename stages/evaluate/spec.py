"""The evaluate stage, declared: image-text retrieval with the pretrained Q-Former, where people wrote the captions."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from stages.contract import ModelRunOptions, Recipe, Seconds, StageSpec

RANKS = (1, 5, 10)
"""The k of the recalls at k that are told."""


class EvaluateRecipe(Recipe):
    """What is measured on, and how many candidates are looked at closely. The models are those of `pretrain`."""

    sources: Annotated[tuple[str, ...], Field(min_length=1)]
    """Sources that people annotated, each a set of its own, such as COCO's split `test`. Nothing trains on them."""
    top_k: Annotated[int, Field(ge=max(RANKS), le=1_000_000)] = 128
    """Candidates per image, and per text, that ITC finds and ITM ranks anew; 128 in BLIP-2."""

    @field_validator("sources")
    @classmethod
    def _no_twins(cls, sources: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(sources)) < len(sources):
            raise ValueError("names a source twice")
        return sources


class EvaluateRun(ModelRunOptions):
    """Where and how fast it is measured; `batch_size` counts images, and texts."""

    pairs: Annotated[int, Field(ge=1, le=1_000_000)] = 256
    """Image-text pairs per forward pass of ITM."""
    deadline: Seconds = 86_400.0
    """Seconds that one attempt may take, in which all sets are measured; then its worker is replaced."""


SPEC = StageSpec(
    name="evaluate",
    version=1,
    inputs=("download", "annotate", "pretrain"),
    recipe=EvaluateRecipe,
    run=EvaluateRun,
    compute="stages.evaluate.compute:Evaluate",
    grain="run",
)
