"""The model of a task at step 0, of a BLIP that was trained before."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch

from stages.finetune.spec import FinetuneRecipe, FinetuneRun
from stages.models.blip.names import State
from stages.models.blip.reading import read_blip
from stages.models.blip.trainable.both import CaptioningRetrieval
from stages.models.blip.trainable.captioning import Captioning
from stages.models.blip.trainable.config import BlipConfig
from stages.models.blip.trainable.loading import load
from stages.models.blip.trainable.published import text_config, vision_config
from stages.models.blip.trainable.retrieval import Retrieval
from stages.models.blip.trainable.tokens import BlipTokens
from stages.models.blip.trainable.vqa import Vqa
from stages.training.order import mix
from stages.training.tokens import read_tokens

logger = logging.getLogger(__name__)

KEY = "finetune"
Model: TypeAlias = Captioning | Retrieval | CaptioningRetrieval | Vqa


@dataclass(frozen=True)
class Built:
    """A model that is ready to be trained."""

    model: Model
    config: BlipConfig
    tokens: BlipTokens
    drawn: list[str]
    """The published names of the weights that were drawn at random."""


def build(recipe: FinetuneRecipe, run: FinetuneRun) -> Built:
    """Build it: the same for the same seed, whatever was drawn before.

    Raises:
        UserError: what it is to begin with is missing, broken or of another shape.
    """
    before = read_blip(recipe.init, recipe.init_revision, f"{KEY}.init")
    tokens = read_tokens(KEY, recipe, before)
    vision, text = vision_config(before.description), text_config(before.description)
    size = recipe.image_size or vision.image_size
    config = BlipConfig(
        vision=replace(
            vision.resized(size, f"{KEY}.image_size"),
            drop_path=recipe.drop_path,
            checkpointed=run.recomputed_blocks,
        ),
        text=replace(text, vocabulary=tokens.vocabulary, dropout=recipe.dropout, start=tokens.start, look=tokens.look),
        projection=before.description.projection,
        queue=recipe.queue,
        momentum=recipe.momentum ** (1 / recipe.accumulate),  # so that a step moves the copies as one part would
    )
    torch.manual_seed(mix("weights", recipe.seed))
    model = _model(recipe, config, tokens.count(recipe.prompt))
    state = _for_answers(before.state, model) if isinstance(model, Vqa) else before.state
    return Built(model, config, tokens, load(model, state, f"{KEY}.init").random)


def _for_answers(state: State, model: Vqa) -> State:
    """The weights without those by which a decoder looks at images of another width than questions have."""
    own = model.state_dict()
    cross = (name for name in state if name.startswith("text_decoder.") and ".crossattention.self." in name)
    unfit = {name for name in cross if name in own and state[name].shape != own[name].shape}
    if unfit:
        shown, asked = (given[min(unfit)].shape[1] for given in (state, own))
        logger.warning(
            "%s: the decoder of %s.init looks at images, %d wide, and is to look at questions, %d wide; the keys and "
            "values of its cross-attention begin at random",
            KEY,
            KEY,
            shown,
            asked,
        )
    return {name: value for name, value in state.items() if name not in unfit}


def _model(recipe: FinetuneRecipe, config: BlipConfig, prompt: int) -> Model:
    across = recipe.negatives == "all"
    if recipe.task == ("captioning",):
        return Captioning(config, prompt)
    if recipe.task == ("vqa",):
        return Vqa(config)
    if recipe.task == ("retrieval",):
        return Retrieval(config, across_workers=across)
    return CaptioningRetrieval(config, prompt, across_workers=across)
