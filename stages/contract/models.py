"""Settings that name a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field

from stages.contract.settings import Dtype, Recipe

FROM: Final = "from: "
"""How the name of a model begins that another step of the manifest makes; no hub name does."""


class ModelField:
    """Marks a recipe field that names a model: what is local is known by its content, what a step makes by its step."""


def _reference(value: Any) -> Any:
    """`{from: STEP}` as the text that a recipe has of it."""
    if not isinstance(value, dict):
        return value
    if set(value) != {"from"} or not isinstance(value["from"], str) or not value["from"]:
        raise ValueError("a model is a text, or {from: STEP} with the name of a step above")
    return f"{FROM}{value['from']}"


ModelRef = Annotated[str, BeforeValidator(_reference), ModelField(), Field(min_length=1)]
"""A hub name; a local folder in the same format; or `{from: STEP}`, the result of another step of the manifest, which
is a folder when a compute gets the recipe."""

OptionalModelRef = Annotated[str | None, BeforeValidator(_reference), ModelField()]
"""The same, or None."""


def model_fields(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """The fields of a recipe that name a model, and the models."""
    for name, field in type(recipe).model_fields.items():
        value = getattr(recipe, name)
        if value and any(isinstance(mark, ModelField) for mark in field.metadata):
            yield name, value


def models_from(recipe: Recipe) -> dict[str, str]:
    """The steps that a recipe takes models from, by its field."""
    return {name: value.removeprefix(FROM) for name, value in model_fields(recipe) if value.startswith(FROM)}


class PretrainedRecipe(Recipe):
    """The recipe of a stage that runs a published model, or one of the manifest's own."""

    model: ModelRef
    revision: str | None = None
    """The hub commit (or tag) that is meant; None for a local folder, which is identified by its content."""
    dtype: Dtype = "float32"
    """The number format that the model computes in."""


class PairModelRecipe(PretrainedRecipe):
    """The recipe of a stage that runs a model of images and texts, or a part of one.

    `model` may also name an architecture of open_clip, such as `ViT-L-14-quickgelu`.
    """

    pretrained: OptionalModelRef = None
    """Weights for open_clip: of an architecture a tag such as `openai`, or a local file such as `epoch_3.pt`; of a
    folder the file that is meant, where it has several. None where the model's place holds its weights."""


class QFormerRecipe(PairModelRecipe):
    """What a Q-Former reads images and texts with.

    `model` is a model whose image tower is read: any that open_clip loads, or one of images alone, such as DINOv2.
    `dtype` is what that tower computes in; with `bfloat16` the Q-Former uses it where that is safe.
    """

    tokenizer: ModelRef = "google-bert/bert-base-uncased"
    """A hub name, or a local folder with a BERT tokenizer."""
    tokenizer_revision: str | None = None
    """The hub commit (or tag) that is meant; None for a local folder."""
    max_text_tokens: Annotated[int, Field(ge=3, le=512)] = 32
    """Tokens that are read of a caption, its two marks included; BERT has 512 positions."""
