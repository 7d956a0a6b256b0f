"""The align stage, declared: BLIP-2's second stage, in which a Q-Former learns to speak to a frozen language model."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from stages.contract import (
    LEARNT_FROM,
    MEASURED,
    Count,
    Dtype,
    ModelRef,
    OptionalModelRef,
    OptionalQFormerRef,
    Port,
    StageSpec,
)
from stages.training.settings import CachingRun, CosineRecipe, Layers, Rate, Share, Size, check_sources

SIZES: Final = ("queries", "width", "layers", "image_every")
"""What a first stage says itself."""


class AlignRecipe(CosineRecipe):
    """The frozen models, and how what stands between them is trained; the defaults are the paper's for OPT.

    For FlanT5 the paper has `batch_size` 1520, all else being the same.
    """

    init: OptionalQFormerRef = None
    """The first stage that it begins with: `{from: STEP}` of a `pretrain`, a folder or hub name of transformers'
    `Blip2ForImageTextRetrieval`, or a `.pth` file of LAVIS. None: nothing, all weights are drawn."""
    init_revision: str | None = None
    """The hub commit (or tag) of `init`; None for what is local."""
    model: OptionalModelRef = None
    """The model whose image tower is read, as in `pretrain`; None: that of `init`."""
    pretrained: OptionalModelRef = None
    """For open_clip: a tag of weights, or a local file with them."""
    revision: str | None = None
    """The hub commit (or tag) of `model`."""
    dtype: Dtype = "float32"
    """What the image tower computes in; with `bfloat16` the Q-Former uses it where that is safe."""
    llm: ModelRef
    """The language model: any that continues a text (OPT, Llama, GPT-2, ...), or T5 and its like; a hub name or a
    folder."""
    llm_revision: str | None = None
    """The hub commit (or tag) of `llm`."""
    llm_dtype: Literal["float32", "bfloat16"] = "float32"
    """The number format of the language model's weights, in which it computes."""
    prompt: str = ""
    """What stands before every caption; it is read, and not learnt."""
    max_text_tokens: Annotated[int, Field(ge=3, le=512)] = 32
    """Tokens that are read of a text, marks included; of T5, of either part."""
    queries: Size = 32
    width: Size = 768
    layers: Layers = 12
    image_every: Size = 2
    """Sizes of the Q-Former, where there is no `init`; the last says every how many layers it looks at the image."""
    heads: Size = 12
    """Heads of its attention, where `init` does not say (LAVIS's files do not)."""
    dropout: Share = 0.1
    """Of the Q-Former. The language model has none, for it is frozen."""
    steps: Count = 80_000
    batch_size: Annotated[int, Field(ge=2, le=1_000_000)] = 1920
    """Images in one step, over all workers."""
    lr: Annotated[float, Field(gt=0, le=1)] = 1e-4
    min_lr: Rate = 5e-5
    """What the learning rate falls to, along a cosine."""
    weight_decay: Annotated[float, Field(ge=0, le=100)] = 0.05
    """AdamW's; biases and norms are exempt."""

    @model_validator(mode="after")
    def _check(self) -> AlignRecipe:
        fields = type(self).model_fields
        if self.init is not None:
            if given := [name for name in SIZES if getattr(self, name) != fields[name].default]:
                raise ValueError(f"init has sizes of its own, beside which {', '.join(given)} mean nothing; leave out")
        elif self.model is None:
            raise ValueError("model has to say whose image tower is read, for there is no init that does")
        if self.init is None and self.init_revision is not None:
            raise ValueError("init_revision names a commit of `init`, which is not set; leave it out")
        if self.model is None and (self.pretrained is not None or self.revision is not None):
            raise ValueError("pretrained and revision say more of `model`, which is not set; leave them out")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} does not divide by heads {self.heads}; change one of them")
        return self


class AlignRun(CachingRun):
    """Where and how fast it is trained."""


SPEC = StageSpec(
    name="align",
    version=1,
    reads={
        "images": Port("images"),
        "captions": Port("captions", many=True),
        "selection": Port("selection", optional=True),
        "measured": Port("images", optional=True, beside=MEASURED),
    },
    writes="checkpoint",
    recipe=AlignRecipe,
    run=AlignRun,
    model="tower",
    models={"llm": "llm"},
    compute="stages.align.compute:Align",
    grain="run",
    check=check_sources,
    workers="group",
    uses=LEARNT_FROM,
)
