"""A BLIP at step 0: drawn, or of an image tower and BERT, or one that was trained before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stages.med.spec import MedRecipe, MedRun
from stages.models.blip.reading import BlipCheckpoint, read_blip
from stages.models.blip.trainable.bert import Bert, read_bert
from stages.models.blip.trainable.config import BlipConfig, TextConfig, VisionConfig
from stages.models.blip.trainable.initialise import initialise
from stages.models.blip.trainable.loading import load
from stages.models.blip.trainable.pretraining import LossWeights, Pretraining
from stages.models.blip.trainable.published import text_config, vision_config
from stages.models.blip.trainable.tokens import BlipTokens
from stages.models.blip.trainable.towers import Tower, read_tower
from stages.models.family import ModelName
from stages.training.order import mix
from stages.training.tokens import read_tokens

KEY = "med"


@dataclass(frozen=True)
class Built:
    """A model that is ready to be trained."""

    model: Pretraining
    config: BlipConfig
    tokens: BlipTokens
    drawn: list[str]
    """The published names of the weights that were drawn at random."""


def build(recipe: MedRecipe, run: MedRun) -> Built:
    """Build it: the same for the same seed, whatever was drawn before.

    Raises:
        UserError: something that it is to begin with is missing, broken or of another shape.
    """
    before = None if recipe.init is None else read_blip(recipe.init, recipe.init_revision, f"{KEY}.init")
    named = None if recipe.text is None else (recipe.text, recipe.text_revision)
    tokens = read_tokens(KEY, recipe, before, named)
    tower, bert = _tower(recipe), _bert(recipe)
    vision, text = _vision(recipe, before, tower), _text(recipe, before, bert)
    config = BlipConfig(
        vision=replace(
            vision.resized(recipe.image_size, f"{KEY}.image_size"),
            drop_path=recipe.drop_path,
            checkpointed=run.recomputed_blocks,
        ),
        text=replace(text, vocabulary=tokens.vocabulary, dropout=recipe.dropout, start=tokens.start, look=tokens.look),
        sharing=recipe.sharing,
        projection=before.description.projection if before else recipe.projection,
        queue=recipe.queue,
        momentum=recipe.momentum ** (1 / recipe.accumulate),  # so that a step moves the copies as one part would
    )
    torch.manual_seed(mix("weights", recipe.seed))
    weights = LossWeights(recipe.itc, recipe.itm, recipe.lm)
    model = Pretraining(config, weights)
    drawn = _fill(model, before, tower, bert.state if bert else None)
    return Built(model, config, tokens, drawn)


def _fill(
    model: Pretraining, before: BlipCheckpoint | None, tower: Tower | None, bert: Mapping[str, Tensor] | None
) -> list[str]:
    if before is not None:
        return load(model, before.state, f"{KEY}.init").random
    return initialise(model, tower.state if tower else None, bert, f"{KEY}.vision or {KEY}.text")


def _vision(recipe: MedRecipe, before: BlipCheckpoint | None, tower: Tower | None) -> VisionConfig:
    if before is not None:
        return vision_config(before.description)
    if tower is not None:
        return tower.config
    return VisionConfig(recipe.vision_width, recipe.vision_layers, recipe.vision_heads, recipe.patch)


def _text(recipe: MedRecipe, before: BlipCheckpoint | None, bert: Bert | None) -> TextConfig:
    if before is not None:
        return text_config(before.description)
    return bert.config if bert else TextConfig(width=recipe.width, layers=recipe.layers, heads=recipe.heads)


def _tower(recipe: MedRecipe) -> Tower | None:
    if recipe.vision is None:
        return None
    return read_tower(ModelName(f"{KEY}.vision", recipe.vision, recipe.vision_pretrained, recipe.vision_revision))


def _bert(recipe: MedRecipe) -> Bert | None:
    return None if recipe.text is None else read_bert(recipe.text, recipe.text_revision, f"{KEY}.text")
