"""The pretrain stage, declared: BLIP-2's first stage, a Q-Former that learns from the bootstrapped corpus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, model_validator

from stages.contract import (
    LEARNT_FROM,
    Count,
    GroupRunOptions,
    OptionalModelRef,
    Port,
    Problems,
    QFormerRecipe,
    Seed,
    StageSpec,
    Threads,
    Wired,
)

Size = Annotated[int, Field(ge=1, le=65_536)]
"""Of a part of the model."""
Rate = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(ge=0, lt=1)]


class PretrainRecipe(QFormerRecipe):
    """The frozen image tower, the Q-Former's sizes and how it is trained; the defaults are BLIP-2's for ViT-L."""

    init: OptionalModelRef = None
    """What the Q-Former begins with: BERT, or a first stage that transformers (`Blip2ForImageTextRetrieval`) or LAVIS
    (a `.pth` file) has saved; a hub name, a local folder or a local file. None: nothing, all weights are drawn."""
    init_revision: str | None = None
    """The hub commit (or tag) of `init`; None for what is local."""
    queries: Size = 32
    width: Size = 768
    layers: Annotated[int, Field(ge=1, le=1000)] = 12
    heads: Size = 12
    projection: Size = 256
    """Numbers in the embeddings that images and texts are compared by."""
    image_every: Size = 2
    """Every how many layers the queries look at the image."""
    dropout: Share = 0.1
    steps: Count = 250_000
    batch_size: Annotated[int, Field(ge=2, le=1_000_000)] = 2320
    """Images in one step, over all workers."""
    accumulate: Annotated[int, Field(ge=1, le=500_000)] = 1
    """Parts in which a batch is computed, one after the other, to save memory. An image is then compared with the texts
    of its own part alone."""
    mixture: dict[str, Annotated[float, Field(ge=1e-6, le=1e9)]] | None = None
    """How much of every batch comes from each source, up to a common factor; None: as much as it has images."""
    shuffle_shards: Count = 16
    """Shards of a source whose images are mixed with one another at a time."""
    lr: Annotated[float, Field(gt=0, le=1)] = 1e-4
    min_lr: Rate = 1e-5
    """What the learning rate falls to, along a cosine."""
    warmup: Annotated[int, Field(ge=0, le=2**31 - 1)] = 2000
    """Steps in which the learning rate rises."""
    betas: tuple[Share, Share] = (0.9, 0.98)
    weight_decay: Annotated[float, Field(ge=0, le=100)] = 0.05
    """AdamW's; biases, norms, the temperature and the queries are exempt."""
    augment: bool = True
    """Random crops and mirror images. Switch it off where captions tell left from right."""
    holdout: Share = 0.005
    """Share of the images, drawn by key, that is not trained on and on which retrieval is measured."""
    evaluate_every: Count | None = None
    """Steps between two such measurements; None measures once, at the end."""
    seed: Seed = 0

    @model_validator(mode="after")
    def _check(self) -> PretrainRecipe:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} does not divide by heads {self.heads}; change one of them")
        if self.init is None and self.init_revision is not None:
            raise ValueError("init_revision names a commit of `init`, which is not set; leave it out")
        if self.min_lr > self.lr:
            raise ValueError(f"min_lr {self.min_lr:g} is above lr {self.lr:g}; lower the one or raise the other")
        if self.batch_size % self.accumulate or self.batch_size < 2 * self.accumulate:
            parts = f"accumulate {self.accumulate} parts of two images or more"
            raise ValueError(f"batch_size {self.batch_size} does not divide into {parts}; change one of them")
        if self.warmup > self.steps:
            raise ValueError(
                f"warmup {self.warmup} is longer than steps {self.steps}; lower the one or raise the other"
            )
        if self.evaluate_every is not None and not self.holdout:
            raise ValueError("evaluate_every measures on `holdout`, which is 0; leave it out, or hold images out")
        return self


class PretrainRun(GroupRunOptions):
    """Where and how fast the Q-Former is trained. Each of the workers takes its part of every batch."""

    device: str = "auto"
    """`auto` (a GPU where the worker has one), or a torch device such as `cpu` or `cuda:0`."""
    threads: Threads | None = None
    """CPU threads of torch in one worker; None leaves torch's (or Ray's) choice."""
    readers: Threads = 4
    """Threads in one worker that read and decode images, beside the computing."""
    cache: Annotated[float, Field(ge=0, le=100_000)] = 4.0
    """GiB of image features that one worker may keep in memory. If those of the whole corpus fit, and images are not
    augmented, every image is read and encoded once instead of once per epoch."""
    checkpoint_every: Count = 1000
    """Steps between two checkpoints: what a crash costs at most."""
    keep_checkpoints: Count = 2
    """How many of the latest checkpoints stay."""
    tensorboard: str | None = None
    """A folder, on the host of the first worker, for curves that TensorBoard shows while the training runs."""


def check(recipe: PretrainRecipe, wired: Mapping[str, Wired]) -> Problems:
    """Whether the mixture gives a share to every source that is trained on, and to no other."""
    if recipe.mixture is None:
        return
    known = ", ".join(wired)
    for name in recipe.mixture:
        if name not in wired:
            yield ("mixture", name), f"there is no such source to train on; these are {known}"
    if missing := [name for name in wired if name not in recipe.mixture]:
        yield ("mixture",), f"has no share for {', '.join(missing)}; give each of {known} its share"


SPEC = StageSpec(
    name="pretrain",
    version=1,
    reads={"images": Port("images"), "captions": Port("captions", many=True), "selection": Port("selection")},
    writes="qformer",
    recipe=PretrainRecipe,
    run=PretrainRun,
    model="tower",
    compute="stages.pretrain.compute:Pretrain",
    grain="run",
    check=check,
    workers="group",
    uses=LEARNT_FROM,
)
