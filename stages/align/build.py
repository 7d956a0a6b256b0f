"""The model at step 0, and the frozen ones on either side of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from stages.align.spec import AlignRecipe
from stages.errors import UserError
from stages.models.blip2.first_stage import FirstStage, read_first_stage
from stages.models.blip2.second_stage import SecondStage
from stages.models.blip2.tower import Tower, load_frozen_tower
from stages.models.families import load_language_model, pinned
from stages.models.family import ModelName
from stages.models.language.model import LanguageModel
from stages.models.qformer.model import QFormerConfig
from stages.models.vision.tower import View
from stages.training.order import mix

KEY = "align"


@dataclass(frozen=True)
class Frozen:
    """What is not trained; the names have the commits that were loaded, whether the recipe says them or not."""

    tower: Tower
    view: View
    tower_name: ModelName
    language: LanguageModel
    language_name: ModelName


def first_stage(recipe: AlignRecipe) -> FirstStage | None:
    """What it begins with.

    Raises:
        UserError: it is missing, broken or no first stage.
    """
    if recipe.init is None:
        return None
    return read_first_stage(recipe.init, recipe.init_revision, f"{KEY}.init", recipe.heads, recipe.dropout)


def load_frozen(recipe: AlignRecipe, before: FirstStage | None, device: torch.device) -> Frozen:
    """Load them.

    Raises:
        UserError: one is missing or of another kind, or nothing says whose image tower is read.
    """
    tower_name = pinned(_tower_name(recipe, before))
    tower, view = load_frozen_tower(tower_name, recipe.dtype, device)
    language_name = pinned(ModelName(f"{KEY}.llm", recipe.llm, revision=recipe.llm_revision))
    language = load_language_model(language_name, recipe.llm_dtype, device)
    return Frozen(tower, view, tower_name, language, language_name)


def _tower_name(recipe: AlignRecipe, before: FirstStage | None) -> ModelName:
    if recipe.model is not None:
        return ModelName(f"{KEY}.model", recipe.model, recipe.pretrained, recipe.revision)
    if before is None or before.tower is None:
        raise UserError(
            f"{KEY}.model: '{recipe.init}' does not say which image tower it was trained on; name it, as in `pretrain`"
        )
    return before.tower


def make_model(
    recipe: AlignRecipe, before: FirstStage | None, vision_width: int, language: LanguageModel
) -> SecondStage:
    """What is trained, at step 0: the same for the same seed, whatever was drawn before.

    Args:
        recipe: sizes, where there is no first stage.
        before: the first stage.
        vision_width: of the tower's features.
        language: the language model.

    Raises:
        UserError: the parts do not fit one another.
    """
    config = before.config if before else _drawn(recipe, vision_width)
    if config.vision_width != vision_width:
        key = f"{KEY}.init" if recipe.model is None else f"{KEY}.model"
        raise UserError(
            f"{key}: the image tower's features are {vision_width} wide, and the first stage of {KEY}.init was trained "
            f"on {config.vision_width}; name the tower that it was trained on"
        )
    _check_lengths(recipe, config.queries, language)
    torch.manual_seed(mix("weights", recipe.seed))
    model = SecondStage(config, language.width)
    if before is not None:
        model.qformer.load_state_dict(dict(before.state))
    return model


def _drawn(recipe: AlignRecipe, vision_width: int) -> QFormerConfig:
    return QFormerConfig(
        vocabulary=1,
        vision_width=vision_width,
        queries=recipe.queries,
        width=recipe.width,
        layers=recipe.layers,
        heads=recipe.heads,
        image_every=recipe.image_every,
        dropout=recipe.dropout,
    )


def _check_lengths(recipe: AlignRecipe, queries: int, language: LanguageModel) -> None:
    """See that queries and text have room, and that a prompt leaves some to the caption."""
    if language.positions is not None and queries + recipe.max_text_tokens > language.positions:
        raise UserError(
            f"{KEY}.max_text_tokens: {recipe.max_text_tokens} tokens behind {queries} queries are more than the "
            f"{language.positions} positions of {KEY}.llm; lower it"
        )
    prompt = language.read([recipe.prompt], [""], 2**16)
    if recipe.prompt and prompt.ids.shape[1] > recipe.max_text_tokens:
        raise UserError(
            f"{KEY}.prompt: its {prompt.ids.shape[1]} tokens leave none of {KEY}.max_text_tokens "
            f"{recipe.max_text_tokens} to the captions; shorten the one or raise the other"
        )
