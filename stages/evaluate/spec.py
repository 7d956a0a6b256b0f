"""The stages that measure, declared: retrieval by people's captions; captions, and answers, against people's."""

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
    RunOptions,
    Seconds,
    StageSpec,
    Wired,
)

TOLD = (1, 5, 10)
"""The k of the recalls at k that are told."""
Candidates = Annotated[int, Field(ge=max(TOLD), le=1_000_000)]
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
    version=3,
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


class CaptionsRecipe(Recipe):
    """What the captions that `predict` wrote are measured by, besides CIDEr-D, BLEU and ROUGE-L."""

    clip: OptionalModelRef = None
    """A model of images and texts for CLIPScore, in the paper `ViT-B-32-quickgelu` of openai; None leaves it out."""
    clip_pretrained: OptionalModelRef = None
    """Weights for open_clip, such as `openai`; see `rank`."""
    clip_revision: str | None = None
    """The hub commit (or tag) of `clip`; None for a local folder."""
    dtype: Dtype = "float32"
    """The number format that `clip` computes in."""

    @model_validator(mode="after")
    def _check(self) -> CaptionsRecipe:
        if self.clip is None and (self.clip_pretrained or self.clip_revision):
            raise ValueError("clip_pretrained and clip_revision are about `clip`, which is not set; leave them out")
        return self


class CaptionsRun(ModelRunOptions):
    """Where and how fast captions are measured."""

    deadline: Seconds = 86_400.0
    """Seconds that one attempt may take, in which all sets are measured; then its worker is replaced."""


CAPTIONS = StageSpec(
    name="evaluate_captions",
    version=2,
    reads={"urls": Port("urls"), "images": Port("images"), "predictions": Port("predictions")},
    writes="captioning",
    recipe=CaptionsRecipe,
    run=CaptionsRun,
    models={"clip": "encoder"},
    compute="stages.evaluate.captions:EvaluateCaptions",
    grain="run",
    uses=frozenset({"measure"}),
)


class AnswersRecipe(Recipe):
    """Nothing to choose: answers are measured by VQA accuracy."""


ANSWERS = StageSpec(
    name="evaluate_answers",
    version=1,
    reads={"questions": Port("questions"), "answers": Port("answers")},
    writes="answering",
    recipe=AnswersRecipe,
    run=RunOptions,
    compute="stages.evaluate.answers:EvaluateAnswers",
    grain="run",
    uses=frozenset({"measure_questions"}),
)
