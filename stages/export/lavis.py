"""A trained Q-Former with its image tower as a checkpoint of LAVIS's `blip2` model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from torch import Tensor

from stages.export.job import NoPlaceError, TrainedModel, shown
from stages.export.lavis_tower import CLIP, NAMED, Kind, Sizes, features, kind_of, other_activation, sizes_of
from stages.export.trained import check_features, load_tower
from stages.models.qformer.model import QFormerConfig, load_qformer
from stages.models.qformer.names import to_lavis
from stages.models.vision.tensors import in_words, tensors_of
from stages.models.vision.tower import View, VisionTower

BERT_WIDTH, BERT_LAYERS, BERT_HEADS = 768, 12, 12
"""LAVIS takes the Q-Former's sizes from bert-base-uncased."""
PROJECTION: Final = 256
TOLERANCE: Final = 1e-4
"""How far LAVIS's features may be from the tower's own, as a share of the largest."""


def export(trained: TrainedModel, path: Path) -> list[str]:
    """Write `{"model": state_dict}` under LAVIS's names, as its trainer does.

    Args:
        trained: what to export.
        path: the file.

    Returns:
        What the user should know, a line each.

    Raises:
        UserError: a model is missing.
        NoPlaceError: LAVIS would compute something else.
    """
    qformer, (tower, view) = load_qformer(trained.weights), load_tower(trained)
    check_qformer(qformer.config)
    sizes, frozen = convert(tower, view, shown(trained))
    state = whole_state(qformer.state_dict(), frozen)
    with path.open("wb") as file:  # by its name the file would say where it was written
        torch.save({"model": state}, file)
    return how_to_load(qformer.config, kind_of(tower.visual), sizes, view)


def carries(trained: TrainedModel) -> bool:
    """Whether LAVIS would compute the same.

    Raises:
        UserError: a model is missing.
    """
    try:
        check_qformer(load_qformer(trained.weights).config)
        convert(*load_tower(trained), shown(trained))
    except NoPlaceError:
        return False
    return True


def whole_state(qformer: Mapping[str, Tensor], tower: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The `state_dict` of LAVIS's `blip2`: a Q-Former's under our names, and its tower's as `convert` gives it."""
    return to_lavis(qformer) | {f"visual_encoder.{name}": value for name, value in tower.items()}


def convert(tower: VisionTower, view: View, name: str) -> tuple[Sizes, Mapping[str, Tensor]]:
    """The tower's sizes, and its tensors as LAVIS names them.

    Raises:
        NoPlaceError: LAVIS would compute something else with them.
    """
    blocks = tower.penultimate + 1
    state = tensors_of(tower.visual, blocks)
    if reasons := _differences(tower, view, state):
        raise _no_place(name, "; ".join(reasons))
    kind, sizes = kind_of(tower.visual), sizes_of(tower.visual, blocks)
    try:
        check_features(tower, view, lambda pixels: features(kind, sizes, state, pixels), TOLERANCE)
    except ValueError as error:
        raise _no_place(name, str(error)) from None
    return sizes, state


def _differences(tower: VisionTower, view: View, state: Mapping[str, Tensor]) -> list[str]:
    """In what a tower differs from LAVIS's class."""
    visual, kind = tower.visual, kind_of(tower.visual)
    wanted = kind.tensors(tower.penultimate + 1)
    found = []
    if view.size[0] != view.size[1]:
        found.append(f"its images are {view.size[0]} x {view.size[1]}, not square")
    if extra := [name for name in state if name not in wanted]:
        found.append(f"it has {in_words(extra)}, which LAVIS's has not")
    if missing := sorted(wanted - set(state)):
        found.append(f"it lacks {in_words(missing)}")
    if found:
        return found
    sizes = sizes_of(visual, tower.penultimate + 1)
    if other := other_activation(visual):
        found.append(f"its activation is {other}, LAVIS's is {'QuickGELU' if kind is CLIP else 'GELU'}")
    if kind is CLIP and sizes.inner != 4 * sizes.width:
        found.append(f"its blocks are {sizes.inner} wide inside, LAVIS's {4 * sizes.width}")
    return [*found, *unnoticed(kind, sizes)]


def unnoticed(kind: Kind, sizes: Sizes) -> list[str]:
    """In what a tower's sizes differ from those that LAVIS has a name for, where LAVIS would not notice it.

    Tensors of another shape it refuses itself. Blocks too many or too few, and heads, which no tensor shows, it does
    not.
    """
    named = NAMED[kind.name]
    noticed = (sizes.width, sizes.patch, sizes.inner) != (named.width, named.patch, named.inner)
    if noticed or sizes == named:
        return []
    return [f"it has {sizes.blocks} blocks of {sizes.heads} heads, LAVIS's {kind.name} {named.blocks} of {named.heads}"]


def check_qformer(config: QFormerConfig) -> None:
    """Refuse a Q-Former that LAVIS would load in part and compute otherwise, without a word.

    Raises:
        NoPlaceError: it is as wide as BERT, but has other layers or heads.
    """
    if config.width == BERT_WIDTH and (config.layers, config.heads) != (BERT_LAYERS, BERT_HEADS):
        raise NoPlaceError(
            f"pretrain.layers, pretrain.heads: LAVIS builds a Q-Former of this width with {BERT_LAYERS} layers of "
            f"{BERT_HEADS} heads and would compute something else than this one of {config.layers} of {config.heads}"
        )


def how_to_load(config: QFormerConfig, kind: Kind, sizes: Sizes, view: View) -> list[str]:
    """What somebody has to tell LAVIS of the file, a line each."""
    notes = [
        f"LAVIS's blip2 loads it as `pretrained`, with load_finetuned: false, vit_model: {kind.name}, image_size: "
        f"{view.size[0]}, num_query_token: {config.queries}, cross_attention_freq: {config.image_every}, max_txt_len: "
        f"{config.max_text_tokens}"
    ]
    if sizes != NAMED[kind.name]:
        notes.append(
            f"LAVIS builds no image tower of this size by name: give its VisionTransformer width {sizes.width}, patch "
            f"{sizes.patch}, {sizes.blocks} blocks of {sizes.heads} heads"
        )
    elif kind is CLIP:
        notes.append(
            "take LAVIS from its repository: the packaged salesforce-lavis 1.0.2 builds 21 of clip_L's 23 blocks, "
            "leaves out the others without a word and computes other features"
        )
    if (view.mean, view.std) != (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD):
        notes.append(f"give LAVIS's vis_processor mean: {list(view.mean)}, std: {list(view.std)}")
    if (config.width, config.projection) != (BERT_WIDTH, PROJECTION):
        notes.append(
            f"LAVIS takes a Q-Former's sizes from bert-base-uncased: give it a configuration of width {config.width}, "
            f"{config.layers} layers of {config.heads} heads, and embed_dim {config.projection}"
        )
    return notes


def _no_place(name: str, reason: str) -> NoPlaceError:
    return NoPlaceError(
        f"pretrain.model: LAVIS would compute other features than the image tower of '{name}': {reason}"
    )
