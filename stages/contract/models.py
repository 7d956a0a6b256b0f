"""Settings that name a model."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stages.contract.settings import Dtype, Recipe


class ModelField:
    """Marks a recipe field that names a model, so that what is local can be fingerprinted by content, not by path."""


ModelName = Annotated[str, ModelField(), Field(min_length=1)]
"""A hub name, or a local folder in the same format."""


class PretrainedRecipe(Recipe):
    """The recipe of a stage that runs a published model."""

    model: ModelName
    revision: str | None = None
    """The hub commit (or tag) that is meant; None for a local folder, which is identified by its content."""
    dtype: Dtype = "float32"
    """The number format that the model computes in."""


class QFormerRecipe(PretrainedRecipe):
    """What a Q-Former reads images and texts with.

    `model` is the CLIP whose image tower is read: an architecture of open_clip such as `ViT-L-14-quickgelu`, a hub name
    or a local folder. `dtype` is what that tower computes in; with `bfloat16` the Q-Former uses it where that is safe.
    """

    pretrained: str | None = None
    """The tag of weights of an open_clip architecture, such as `openai`; None for a hub name or a folder."""
    tokenizer: ModelName = "google-bert/bert-base-uncased"
    """A hub name, or a local folder with a BERT tokenizer."""
    tokenizer_revision: str | None = None
    """The hub commit (or tag) that is meant; None for a local folder."""
    max_text_tokens: Annotated[int, Field(ge=3, le=512)] = 32
    """Tokens that are read of a caption, its two marks included; BERT has 512 positions."""
