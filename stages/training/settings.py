"""Settings that all trainings have; pydantic alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, model_validator

from stages.contract import AS_TUPLE, Count, GroupRunOptions, Problems, Recipe, Seed, Threads, Wired

Rate = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Size = Annotated[int, Field(ge=1, le=65_536)]
"""Of a part of a model."""
Betas = Annotated[tuple[Share, Share], AS_TUPLE]
"""AdamW's."""
Weight = Annotated[float, Field(ge=0, le=1000)]
"""What a loss counts beside the others."""
Layers = Annotated[int, Field(ge=1, le=1000)]


class TrainingRecipe(Recipe):
    """What every training is given its images by, and how its weights are moved."""

    batch_size: Annotated[int, Field(ge=2, le=1_000_000)] = 256
    """Images in one step, over all workers."""
    accumulate: Annotated[int, Field(ge=1, le=500_000)] = 1
    """Parts in which a batch is computed, one after the other, to save memory. An image is then compared with the texts
    of its own part alone."""
    mixture: dict[str, Annotated[float, Field(ge=0, le=1e9)]] | None = None
    """How much of every batch comes from each source, up to a common factor, nothing of one that has 0; None: as much
    as it has."""
    slices: dict[str, Annotated[int, Field(ge=1, le=10_000)]] = Field(default_factory=dict)
    """By source, in how many parts its shards are read, one part in each epoch, and then again: BLIP reads LAION in
    fifths. A source that is not named comes whole in every epoch."""
    shuffle_shards: Count = 16
    """Shards of a source whose images are mixed with one another at a time."""
    lr: Annotated[float, Field(gt=0, le=1)] = 1e-4
    """The highest learning rate."""
    min_lr: Rate = 0.0
    """What the learning rate falls to."""
    weight_decay: Annotated[float, Field(ge=0, le=100)] = 0.05
    """AdamW's."""
    holdout: Share = 0.005
    """Share of the images, drawn by their bytes, that is not trained on and on which the model is measured."""
    evaluate_every: Count | None = None
    """Steps between two such measurements; None measures once, at the end."""
    seed: Seed = 0

    @model_validator(mode="after")
    def _check_training(self) -> TrainingRecipe:
        if self.min_lr > self.lr:
            raise ValueError(f"min_lr {self.min_lr:g} is above lr {self.lr:g}; lower the one or raise the other")
        if self.batch_size % self.accumulate or self.batch_size < 2 * self.accumulate:
            parts = f"accumulate {self.accumulate} parts of two images or more"
            raise ValueError(f"batch_size {self.batch_size} does not divide into {parts}; change one of them")
        if self.evaluate_every is not None and not self.holdout:
            raise ValueError("evaluate_every measures on `holdout`, which is 0; leave it out, or hold images out")
        if self.mixture and not any(self.mixture.values()):
            raise ValueError("mixture has 0 for every source, so that there is nothing to learn from; give one a share")
        return self

    def learns_from(self, source: str) -> bool:
        """Whether a source has a share of the batches."""
        return self.mixture is None or self.mixture.get(source) != 0


class CosineRecipe(TrainingRecipe):
    """The same of a training of so many steps, whose learning rate rises and then falls along a cosine, as BLIP-2's."""

    steps: Count
    warmup: Annotated[int, Field(ge=0, le=2**31 - 1)] = 2000
    """Steps in which the learning rate rises."""
    betas: Betas = (0.9, 0.98)
    augment: bool = True
    """Random crops and mirror images. Switch it off where captions tell left from right."""

    @model_validator(mode="after")
    def _check_warmup(self) -> CosineRecipe:
        if self.warmup > self.steps:
            raise ValueError(
                f"warmup {self.warmup} is longer than steps {self.steps}; lower the one or raise the other"
            )
        return self


class TrainingRun(GroupRunOptions):
    """Where and how fast a model is trained. Each of the workers takes its part of every batch."""

    device: str = "auto"
    """`auto` (a GPU where the worker has one), or a torch device such as `cpu` or `cuda:0`."""
    threads: Threads | None = None
    """CPU threads of torch in one worker; None leaves torch's (or Ray's) choice."""
    readers: Threads = 4
    """Threads in one worker that read and decode images, beside the computing."""
    checkpoint_every: Count = 1000
    """Steps between two checkpoints: what a crash costs at most."""
    keep_checkpoints: Count = 2
    """How many of the latest checkpoints stay."""
    tensorboard: str | None = None
    """A folder, on the host of the first worker, for curves that TensorBoard shows while the training runs."""


class CachingRun(TrainingRun):
    """The same of a training whose image tower may be frozen."""

    cache: Annotated[float, Field(ge=0, le=100_000)] = 4.0
    """GiB of image features that one worker may keep in memory. If those of the whole corpus fit, and images are not
    augmented, every image is read and encoded once instead of once per epoch."""


def check_sources(recipe: TrainingRecipe, wired: Mapping[str, Wired]) -> Problems:
    """Whether there are the sources that it names, and the mixture gives each a share."""
    known = ", ".join(wired)
    for name in recipe.slices:
        if name not in wired:
            yield ("slices", name), f"there is no such source to train on; these are {known}"
    if recipe.mixture is None:
        return
    for name in recipe.mixture:
        if name not in wired:
            yield ("mixture", name), f"there is no such source to train on; these are {known}"
    if missing := [name for name in wired if name not in recipe.mixture]:
        yield ("mixture",), f"has no share for {', '.join(missing)}; give each of {known} its share"
