"""What the Q-Former knows at step 0: what BERT knew, or a published first stage, or nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from stages.errors import UserError
from stages.models.qformer.checkpoint import read_checkpoint
from stages.models.qformer.model import QFormer, QFormerConfig
from stages.models.qformer.sizes import sizes_of
from stages.training.told import tell_drawn

KEY = "pretrain.init"
_KEYS = {"vision_width": "pretrain.model", "vocabulary": "pretrain.tokenizer"}
"""The recipe's keys for those sizes that have another name there."""
_TABLES = ("words.weight", "word_bias", "positions.weight")
"""Weights with a row per word or position: a checkpoint may have more of them, or lack the start token's."""


def initialise(model: QFormer, place: str, revision: str | None) -> None:
    """Give the model what a checkpoint knows; what it lacks stays as it was drawn.

    Of BERT come words, positions, self-attention, the head that says the next word, and both feed-forwards, which begin
    alike. The queries, what looks at the image, the projections and the start token that BERT lacks are new (Li et al.
    2023, arXiv 2301.12597, section 3.1). Of a first stage comes all that its format holds.

    Raises:
        UserError: there is no such checkpoint, its sizes are not the recipe's, or it is a first stage that is blind.
    """
    found = read_checkpoint(place, revision, KEY)
    sizes = sizes_of(found.state) | ({"heads": found.heads} if found.heads else {})
    if wrong := _differences(model.config, sizes):
        raise UserError(f"{KEY}: '{place}' does not fit the recipe: {', '.join(wrong)}")
    own = model.state_dict()
    _check_looks(place, found.state, own)
    fitted = {
        name: _with_own_rows(value, own[name]) if name in _TABLES else value for name, value in found.state.items()
    }
    try:
        model.load_state_dict(own | fitted)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise UserError(f"{KEY}: '{place}' is no Q-Former of BERT's shape: {reason}") from None
    tell_drawn("pretrain", {parameter.split(".")[0] for parameter in own if parameter not in found.state})


def _check_looks(place: str, found: Collection[str], own: Collection[str]) -> None:
    """See that a first stage has all that looks at images; BERT has nothing of it.

    Raises:
        UserError: it lacks some.
    """
    looks = [name for name in own if ".image_attention." in name]
    lacks = [name for name in looks if name not in found]
    if "queries" in found and lacks:
        raise UserError(
            f"{KEY}: '{place}' is a first stage that lacks {len(lacks)} of {len(looks)} weights of its "
            "cross-attention, without which its queries see no image; name a checkpoint that has them, or BERT"
        )


def _with_own_rows(table: Tensor, own: Tensor) -> Tensor:
    """The checkpoint's rows as far as the model has them, then the model's own."""
    return torch.cat([table[: len(own)], own[len(table) :]])


def _differences(config: QFormerConfig, sizes: Mapping[str, int]) -> list[str]:
    """What does not fit, each with the recipe's key."""
    return [
        f"{_KEYS.get(field, f'pretrain.{field}')} gives {getattr(config, field)} ({field}), there it is {size}"
        for field, size in sizes.items()
        if not _fits(field, getattr(config, field), size, config.layers)
    ]


def _fits(field: str, wanted: int, size: int, layers: int) -> bool:
    if field == "max_text_tokens":
        return size >= wanted  # the first positions are taken
    if field == "vocabulary":
        return abs(size - wanted) <= 1  # without the start token, or with the placeholder that transformers adds
    if field == "image_every":
        return min(wanted, layers) == size
    return wanted == size
