"""Settings that all trainings of a BLIP have; pydantic alone."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stages.contract import Count, Dtype, OptionalModelRef
from stages.training.settings import Betas, CachingRun, Share, TrainingRecipe


class BlipRecipe(TrainingRecipe):
    """What a BLIP begins with, and how it is trained."""

    init_revision: str | None = None
    """The hub commit (or tag) of `init`; None for what is local."""
    tokenizer: OptionalModelRef = None
    """A hub name or a folder with a BERT tokenizer; None: that of what it begins with."""
    tokenizer_revision: str | None = None
    freeze_vision: bool = False
    """Whether the image tower stays as it begins: for small machines, whose memory may hold the features of a whole
    corpus (`run: {cache: …}`; images are then not augmented)."""
    queue: Annotated[int, Field(ge=1, le=10_000_000)] = 57_600
    """Earlier embeddings that a batch is compared with; a multiple of `batch_size` / `accumulate`."""
    momentum: Share = 0.995
    """What the slow copies keep of themselves in a step."""
    dropout: Share = 0.1
    drop_path: Share = 0.0
    """Stochastic depth of the image tower's last block; it grows from none at the first."""
    max_text_tokens: Annotated[int, Field(ge=3, le=512)] = 30
    """Tokens that are read of a text, its marks included."""
    max_words: Annotated[int, Field(ge=1, le=512)] = 30
    """Words that are kept of a text before it is read."""
    augment: Literal["blip", "crop", "none"] = "blip"
    """`blip`: random crops, mirror images and RandAugment, in pretraining crops of a fifth of the image or more, in
    fine-tuning of half; `crop`: crops of half of the image or more, and mirror images; `none`: the image as it is.
    Captions that tell left from right want `none`."""
    epochs: Count = 20
    """An epoch has every caption of every image once."""
    betas: Betas = (0.9, 0.999)
    dtype: Dtype = "float32"
    """What is computed in; `bfloat16` is autocast, the weights stay float32."""

    def check_frozen(self) -> None:
        """See that a tower which stays as it is may be asked once for each image.

        Raises:
            ValueError: images are augmented, or the tower drops blocks.
        """
        if self.freeze_vision and (self.augment != "none" or self.drop_path):
            raise ValueError("freeze_vision computes the features of an image once; set augment: none, drop_path: 0")

    def check_queue(self) -> None:
        """See that parts of batches fill the queue.

        Raises:
            ValueError: they do not.
        """
        part = self.batch_size // self.accumulate
        if self.queue % part:
            raise ValueError(
                f"queue {self.queue} is no multiple of batch_size / accumulate {part}, by which it is filled; "
                "change one of them"
            )


class BlipRun(CachingRun):
    """Where and how fast a BLIP is trained. Each of the workers takes its part of every batch."""

    recomputed_blocks: Annotated[int, Field(ge=0, le=1000)] = 0
    """How many of the image tower's last blocks compute their activations a second time rather than keep them: less
    memory, the same numbers."""
