"""The pretrain stage, declared: BLIP-2's first stage, a Q-Former that learns from the bootstrapped corpus."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from stages.contract import LEARNT_FROM, MEASURED, Count, OptionalQFormerRef, Port, QFormerRecipe, StageSpec
from stages.training.settings import CachingRun, CosineRecipe, Layers, Rate, Share, Size, Weight, check_sources


class PretrainRecipe(QFormerRecipe, CosineRecipe):
    """The frozen image tower, the Q-Former's sizes and how it is trained; the defaults are BLIP-2's for ViT-L."""

    init: OptionalQFormerRef = None
    """What the Q-Former begins with: BERT, or a first stage that transformers (`Blip2ForImageTextRetrieval`), LAVIS
    (a `.pth` file) or another `pretrain` step has saved; a hub name, a local folder or a local file, or `{from: STEP}`.
    None: nothing, all weights are drawn."""
    init_revision: str | None = None
    """The hub commit (or tag) of `init`; None for what is local."""
    queries: Size = 32
    width: Size = 768
    layers: Layers = 12
    heads: Size = 12
    projection: Size = 256
    """Numbers in the embeddings that images and texts are compared by."""
    image_every: Size = 2
    """Every how many layers the queries look at the image."""
    itc: Weight = 1.0
    itm: Weight = 1.0
    itg: Weight = 1.0
    """What the losses count, of finding a partner, of telling right pairs from wrong ones, and of writing captions."""
    dropout: Share = 0.1
    steps: Count = 250_000
    batch_size: Annotated[int, Field(ge=2, le=1_000_000)] = 2320
    """Images in one step, over all workers."""
    lr: Annotated[float, Field(gt=0, le=1)] = 1e-4
    min_lr: Rate = 1e-5
    """What the learning rate falls to, along a cosine."""
    weight_decay: Annotated[float, Field(ge=0, le=100)] = 0.05
    """AdamW's; biases, norms, the temperature and the queries are exempt."""

    @model_validator(mode="after")
    def _check(self) -> PretrainRecipe:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} does not divide by heads {self.heads}; change one of them")
        if self.init is None and self.init_revision is not None:
            raise ValueError("init_revision names a commit of `init`, which is not set; leave it out")
        if not self.itc + self.itm + self.itg:
            raise ValueError("itc, itm and itg are all 0, so that nothing is learnt; give one of them a weight")
        return self


class PretrainRun(CachingRun):
    """Where and how fast the Q-Former is trained."""


SPEC = StageSpec(
    name="pretrain",
    version=3,
    reads={
        "images": Port("images"),
        "captions": Port("captions", many=True),
        "selection": Port("selection"),
        "measured": Port("images", optional=True, beside=MEASURED),
    },
    writes="qformer",
    recipe=PretrainRecipe,
    run=PretrainRun,
    model="tower",
    compute="stages.pretrain.compute:Pretrain",
    exports={"hf": "stages.export.hugging_face:export", "lavis": "stages.export.lavis:export"},
    grain="run",
    check=check_sources,
    workers="group",
    uses=LEARNT_FROM,
)
