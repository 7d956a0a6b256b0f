"""The med stage, declared: BLIP's pretraining on noisy and on bootstrapped pairs (arXiv 2201.12086, section 3)."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from stages.contract import LEARNT_FROM, MEASURED, OptionalModelRef, Port, StageSpec
from stages.training.blip_settings import BlipRecipe, BlipRun
from stages.training.settings import Layers, Rate, Size, Weight, check_sources

Sharing = Literal["all but self-attention", "all", "all but cross-attention", "none"]

SETTINGS: Final[dict[str, dict[str, Any]]] = {
    "paper": {"batch_size": 2880, "lr": 3e-4, "decay": 0.85},
    "paper-large": {"batch_size": 2400, "lr": 2e-4, "decay": 0.85, "drop_path": 0.1},
    "code": {"batch_size": 600, "lr": 3e-4, "decay": 0.9},
}
"""What the paper (for its base and its large model) and the public code's configuration say otherwise."""


class MedRecipe(BlipRecipe):
    """The model, what it begins with and how it is trained; the defaults are the paper's for ViT-B/16.

    `settings: code` takes those of the public code's configuration instead, `paper-large` the paper's for ViT-L/16; a
    key that stands in the manifest counts before either.
    """

    settings: Literal["paper", "paper-large", "code"] = "paper"
    init: OptionalModelRef = None
    """A BLIP that it goes on from: a `.pth` file as BLIP's authors publish them, a Hugging Face folder or hub name, or
    `{from: STEP}`. None: a new one, of `vision` and `text`."""
    vision: OptionalModelRef = None
    """What the image tower begins with: any plain vision transformer that open_clip, timm or transformers (DINOv2)
    loads, or that of a BLIP. None: nothing, its weights are drawn."""
    vision_pretrained: OptionalModelRef = None
    """For open_clip: a tag of weights, or a local file with them."""
    vision_revision: str | None = None
    text: OptionalModelRef = None
    """What both text stacks begin with: BERT, a hub name or a folder. None: nothing, their weights are drawn."""
    text_revision: str | None = None
    image_size: Annotated[int, Field(ge=16, le=4096)] = 224
    """Height and width in pixels, a multiple of the patches'."""
    patch: Size = 16
    vision_width: Size = 768
    vision_layers: Layers = 12
    vision_heads: Size = 12
    """Sizes of the image tower, where `vision` and `init` name none."""
    width: Size = 768
    layers: Layers = 12
    heads: Size = 12
    """Sizes of the text stacks, where `text` and `init` name none."""
    sharing: Sharing = "all but self-attention"
    """What encoder and decoder have in common, by the paper's table 3."""
    projection: Size = 256
    """Numbers in the embeddings that images and texts are compared by."""
    itc: Weight = 1.0
    itm: Weight = 1.0
    lm: Weight = 1.0
    """What the losses count, of finding a partner, of telling right pairs from wrong ones, and of writing captions."""
    batch_size: Annotated[int, Field(ge=2, le=1_000_000)] = 2880
    """Pairs in one step, over all workers."""
    lr: Annotated[float, Field(gt=0, le=1)] = 3e-4
    min_lr: Rate = 1e-6
    """What the learning rate falls to at most."""
    decay: Annotated[float, Field(gt=0, le=1)] = 0.85
    """What the learning rate is multiplied by after each epoch."""
    warmup: Annotated[int, Field(ge=0, le=2**31 - 1)] = 3000
    """Steps in which the learning rate rises, in a line from `warmup_lr`; those of the first epoch at most."""
    warmup_lr: Rate = 1e-6

    @model_validator(mode="before")
    @classmethod
    def _take_settings(cls, values: Any) -> Any:
        named = SETTINGS.get(values.get("settings", "paper")) if isinstance(values, dict) else None
        return values if named is None else {**named, **values}

    @model_validator(mode="after")
    def _check(self) -> MedRecipe:
        if self.init is not None and (self.vision is not None or self.text is not None):
            raise ValueError("init is a whole model, beside which vision and text have no meaning; leave them out")
        if self.init is None and self.text is None and self.tokenizer is None:
            raise ValueError("text, init or tokenizer has to say which tokens a caption is read in; name one")
        if not self.itc + self.itm + self.lm:
            raise ValueError("itc, itm and lm are all 0, so that nothing is learnt; give one of them a weight")
        if self.width % self.heads or self.vision_width % self.vision_heads:
            raise ValueError("width has to divide by heads, and vision_width by vision_heads; change one of them")
        if self.init is None and self.vision is None and self.image_size % self.patch:
            raise ValueError(f"image_size {self.image_size} is no multiple of patch {self.patch}; change one of them")
        self.check_queue()
        self.check_frozen()
        return self


class MedRun(BlipRun):
    """Where and how fast BLIP is pretrained."""


SPEC = StageSpec(
    name="med",
    version=2,
    reads={
        "images": Port("images"),
        "captions": Port("captions", many=True),
        "selection": Port("selection", optional=True),
        "measured": Port("images", optional=True, beside=MEASURED),
    },
    writes="checkpoint",
    recipe=MedRecipe,
    run=MedRun,
    compute="stages.med.compute:Med",
    exports={"hf": "stages.export.blip:export_folder", "pth": "stages.export.blip:export_pth"},
    grain="run",
    check=check_sources,
    workers="group",
    uses=LEARNT_FROM,
)
