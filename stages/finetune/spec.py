"""The finetune stage, declared: a pretrained BLIP becomes a captioner, a matcher, or both, or answers questions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, model_validator

from stages.contract import (
    DESCRIBED,
    MEASURED,
    Count,
    Dtype,
    ModelRef,
    OptionalModelRef,
    Port,
    Problems,
    StageSpec,
    Use,
    Wired,
)
from stages.training.settings import BlipRun, Rate, Share, TrainingRecipe, check_sources

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


class FinetuneRecipe(TrainingRecipe):
    """The task, and how it is learnt; the defaults are BLIP's for ViT-B on COCO."""

    task: Annotated[tuple[Task, ...], BeforeValidator(_as_tasks), Field(min_length=1, max_length=2)]
    """`captioning` (LM behind a prompt), `retrieval` (ITC and ITM: the filter), or a list of both, which trains one
    model that is both, as in the ablation of the paper's table 2.3; or `vqa` (answers to questions about images)."""
    init: ModelRef
    """The BLIP that it begins with: `{from: STEP}` of a `med`, a `.pth` file as BLIP's authors publish them, a Hugging
    Face folder or hub name."""
    init_revision: str | None = None
    """The hub commit (or tag) of `init`; None for what is local."""
    tokenizer: OptionalModelRef = None
    """A hub name or a folder with a BERT tokenizer; None: that of `init`."""
    tokenizer_revision: str | None = None
    freeze_vision: bool = False
    """Whether the image tower stays as it is, see `med`."""
    image_size: Annotated[int, Field(ge=16, le=4096)] | None = 384
    """Height and width in pixels, for `vqa` 480; the positions of `init` are interpolated. None: those of `init`."""
    prompt: str = "a picture of "
    """What every caption begins with; it is not learnt."""
    queue: Annotated[int, Field(ge=1, le=10_000_000)] = 57_600
    """Earlier embeddings that a batch is compared with; a multiple of `batch_size` / `accumulate`."""
    momentum: Share = 0.995
    """What the slow copies keep of themselves in a step."""
    negatives: Literal["all", "own"] = "all"
    """Whether wrong partners are drawn from the whole batch of all workers, as BLIP does on COCO, or from a worker's
    own part, as on Flickr30k."""
    dropout: Share = 0.1
    drop_path: Share = 0.0
    """Stochastic depth of the image tower's last block."""
    max_text_tokens: Annotated[int, Field(ge=3, le=512)] = 40
    """Tokens that are read of a caption, prompt and marks included, or of a question; answers are read whole."""
    max_words: Annotated[int, Field(ge=1, le=512)] = 30
    """Words that are kept of a caption, or of a question, before."""
    augment: Literal["blip", "crop", "none"] = "blip"
    """`blip`: crops of half of the image or more, mirror images and RandAugment; `crop`: without RandAugment; `none`:
    the image as it is."""
    epochs: Count = 5
    """An epoch has every caption of every image once, or every question about it."""
    lr: Annotated[float, Field(gt=0, le=1)] = 1e-5
    min_lr: Rate = 0.0
    """What the learning rate falls to, along a cosine that has a value for each epoch."""
    betas: tuple[Share, Share] = (0.9, 0.999)
    dtype: Dtype = "float32"
    """What is computed in; `bfloat16` is autocast, the weights stay float32."""

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
        if "retrieval" in self.task and self.queue % (self.batch_size // self.accumulate):
            raise ValueError(
                f"queue {self.queue} is no multiple of batch_size / accumulate {self.batch_size // self.accumulate}, "
                "by which it is filled; change one of them"
            )
        if self.freeze_vision and (self.augment != "none" or self.drop_path):
            raise ValueError("freeze_vision computes the features of an image once; set augment: none, drop_path: 0")
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
    grain="run",
    check=check,
    workers="group",
    uses=DESCRIBED | {"questions"},
    narrow=_uses,
)
