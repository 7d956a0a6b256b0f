"""The finetune stage, declared: a pretrained BLIP becomes a captioner, a matcher, or both, or answers questions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, model_validator

from stages.contract import DESCRIBED, MEASURED, Count, ModelRef, Port, Problems, StageSpec, Use, Wired
from stages.metrics.captions import can_score
from stages.training.blip_settings import BlipRecipe, BlipRun
from stages.training.settings import Rate, check_sources

Task = Literal["captioning", "retrieval", "vqa"]

DEFAULTS: Final[dict[tuple[Task, ...], dict[str, Any]]] = {
    ("captioning",): {"epochs": 5, "max_text_tokens": 40},
    ("retrieval",): {"epochs": 6, "max_text_tokens": 35},
    ("captioning", "retrieval"): {"epochs": 6, "max_text_tokens": 40},
    ("vqa",): {
        "epochs": 10,
        "max_text_tokens": 35,
        "max_words": 50,
        "image_size": 480,
        "lr": 2e-5,
        "drop_path": 0.1,
    },
}
"""BLIP's, by task."""


def _as_tasks(value: Any) -> Any:
    return tuple(sorted(value)) if isinstance(value, list | tuple) else (value,)


class FinetuneRecipe(BlipRecipe):
    """The task, and how it is learnt; the defaults are BLIP's for ViT-B on COCO."""

    task: Annotated[tuple[Task, ...], BeforeValidator(_as_tasks), Field(min_length=1, max_length=2)]
    """`captioning` (LM behind a prompt), `retrieval` (ITC and ITM: the filter), or a list of both, which trains one
    model that is both, as in the ablation of the paper's table 2.3; or `vqa` (answers to questions about images)."""
    init: ModelRef
    """The BLIP that it begins with: `{from: STEP}` of a `med`, a `.pth` file as BLIP's authors publish them, a Hugging
    Face folder or hub name."""
    image_size: Annotated[int, Field(ge=16, le=4096)] | None = 384
    """Height and width in pixels, for `vqa` 480; the positions of `init` are interpolated. None: those of `init`."""
    prompt: str = "a picture of "
    """What every caption begins with; it is not learnt."""
    best_by: Literal["loss", "cider"] = "loss"
    """What tells the best captioner, of those that are measured on `holdout`: the loss of people's captions, or CIDEr-D
    of its own, by beam search as `predict` has it; that takes the extra `metrics`. What compares is told by its mean
    recall."""
    negatives: Literal["all", "own"] = "all"
    """Whether wrong partners are drawn from the whole batch of all workers, as BLIP does on COCO, or from a worker's
    own part, as on Flickr30k."""
    max_text_tokens: Annotated[int, Field(ge=3, le=512)] = 40
    """Tokens that are read of a caption, prompt and marks included, or of a question; answers are read whole."""
    epochs: Count = 5
    """An epoch has every caption of every image once, or every question about it."""
    lr: Annotated[float, Field(gt=0, le=1)] = 1e-5
    min_lr: Rate = 0.0
    """What the learning rate falls to, along a cosine that has a value for each epoch."""

    @model_validator(mode="before")
    @classmethod
    def _take_defaults(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "task" not in values:
            return values
        return {**DEFAULTS.get(_as_tasks(values["task"]), {}), **values}

    @model_validator(mode="after")
    def _check(self) -> FinetuneRecipe:
        if len(set(self.task)) < len(self.task):
            raise ValueError("task names one thing twice; leave one out")
        if "vqa" in self.task and len(self.task) > 1:
            raise ValueError("task vqa makes a model of its own; write a section for each")
        if self.best_by == "cider" and self.task != ("captioning",):
            raise ValueError("best_by: cider is of a captioner alone; leave it out, or set task: captioning")
        if self.best_by == "cider" and not self.holdout:
            raise ValueError("best_by: cider is measured on `holdout`, which is 0; hold images out")
        if "retrieval" in self.task:
            self.check_queue()
        self.check_frozen()
        return self


class FinetuneRun(BlipRun):
    """Where and how fast it is fine-tuned."""


def _uses(recipe: FinetuneRecipe) -> frozenset[Use]:
    """Human pairs, or questions."""
    return frozenset({"questions"}) if recipe.task == ("vqa",) else DESCRIBED


def check(recipe: FinetuneRecipe, wired: Mapping[str, Wired]) -> Problems:
    """Whether there is something to learn of every source, and each has its share."""
    role = "questions" if recipe.task == ("vqa",) else "captions"
    for name, found in wired.items():
        if role not in found.roles:
            yield (), f"reads {role} of the source '{name}', and finds none; let its 'reads:' name who writes them"
    if recipe.best_by == "cider" and not can_score():
        yield ("best_by",), "cider takes pycocoevalcap; install it by `pip install 'capfilt[metrics]'`"
    yield from check_sources(recipe, wired)


SPEC = StageSpec(
    name="finetune",
    version=2,
    reads={
        "images": Port("images"),
        "captions": Port("captions", many=True, optional=True),
        "questions": Port("questions", optional=True),
        "measured": Port("images", optional=True, beside=MEASURED),
    },
    writes="checkpoint",
    recipe=FinetuneRecipe,
    run=FinetuneRun,
    compute="stages.finetune.compute:Finetune",
    exports={"hf": "stages.export.blip:export_folder", "pth": "stages.export.blip:export_pth"},
    grain="run",
    check=check,
    workers="group",
    uses=DESCRIBED | {"questions"},
    narrow=_uses,
)
