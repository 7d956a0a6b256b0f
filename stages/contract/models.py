"""Settings that name a model."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field

from stages.contract.settings import Dtype, Recipe

FROM: Final = "from: "
"""How the name of a model begins that another step of the manifest makes; no hub name does."""


HUB_NAME: Final = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
"""How the hub names models; a local path may look the same."""


@dataclass(frozen=True)
class ModelField:
    """Marks a recipe field that names a model: what is local is known by its content, what a step makes by its step."""

    on_hub: bool = True
    """Whether the name may be one of the hub; else it may be that of a file in the folder that `model` names."""
    kind: str = "checkpoint"
    """Of what kind (`stages.kinds`) a model of another step has to be."""


_MARKS: Final = ("*config.json", "tokenizer.json", "vocab.txt", "*.safetensors", "*.bin", "*.pt", "*.pth")
"""Files of which a model's folder has one at least."""


def path_of(name: str) -> Path | None:
    """The path that a model's name is: one with a separator, or that begins with `.` or `~`.

    So is a plain word where a file, or a folder with a model in it, is called so in the working folder; another folder
    that happens to be called like a tag (`openai`) is none.

    Returns:
        None for any other name. `org/name` is a path where such a folder is there, and else one of the hub's names.
    """
    path = Path(os.path.expanduser(name))  # noqa: PTH111 - a name may be anything
    if "/" in name or name.startswith((".", "~")) or path.is_file():
        return path
    return path if path.is_dir() and any(next(path.glob(mark), None) for mark in _MARKS) else None


def _reference(value: Any) -> Any:
    """`{from: STEP}` as the text that a recipe has of it."""
    if not isinstance(value, dict):
        return value
    if set(value) != {"from"} or not isinstance(value["from"], str) or not value["from"]:
        raise ValueError("a model is a text, or {from: STEP} with the name of a step above")
    return f"{FROM}{value['from']}"


ModelRef = Annotated[str, BeforeValidator(_reference), ModelField(), Field(min_length=1)]
"""A hub name; a local folder in the same format (see `path_of`); or `{from: STEP}`, the result of another step of the
manifest, which is a folder when a compute gets the recipe."""

OptionalModelRef = Annotated[str | None, BeforeValidator(_reference), ModelField()]
"""The same, or None."""

OptionalQFormerRef = Annotated[str | None, BeforeValidator(_reference), ModelField(kind="qformer")]
"""The same of a Q-Former: what `{from: STEP}` names is a training of BLIP-2's first stage."""


def model_fields(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """The fields of a recipe that name a model, and the models."""
    for name in type(recipe).model_fields:
        value = getattr(recipe, name)
        if value and _mark(recipe, name):
            yield name, value


def _mark(recipe: Recipe, field: str) -> ModelField | None:
    return next((mark for mark in type(recipe).model_fields[field].metadata if isinstance(mark, ModelField)), None)


def absent_models(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """The fields of a recipe that name a path at which nothing lies, and the names."""
    folder = path_of(getattr(recipe, "model", None) or "") or Path()
    for field, name in model_fields(recipe):
        mark, path = _mark(recipe, field), path_of(name)
        on_hub = mark is not None and mark.on_hub
        if path is None or name.startswith(FROM) or path.exists() or (on_hub and HUB_NAME.fullmatch(name)):
            continue
        if on_hub or not (folder / name).exists():
            yield field, name


def doubtful_models(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """The fields of a recipe whose name is one of the hub's, though its first part is a folder here; and the names."""
    for field, name in model_fields(recipe):
        mark, path = _mark(recipe, field), Path(name)
        is_hubs = mark is not None and mark.on_hub and "/" in name and HUB_NAME.fullmatch(name)
        if is_hubs and path.parent.is_dir() and not path.exists():
            yield field, name


def models_from(recipe: Recipe) -> dict[str, str]:
    """The steps that a recipe takes models from, by its field."""
    return {name: value.removeprefix(FROM) for name, value in model_fields(recipe) if value.startswith(FROM)}


def kind_of_model(recipe: Recipe, field: str) -> str:
    """Of what kind the model of another step has to be that a field names."""
    mark = _mark(recipe, field)
    assert mark is not None, f"{field} names no model"
    return mark.kind


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

    pretrained: Annotated[str | None, BeforeValidator(_reference), ModelField(on_hub=False)] = None
    """Weights for open_clip: of an architecture a tag such as `openai`, or a local file such as `./epoch_3.pt`; of a
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
