"""What BLIP knows before it has seen a pair: an image tower of ImageNet, and BERT in both text stacks.

As in the original (blip_pretrain.py) the encoder has BERT's weights, slow copies are taken of it, the decoder has
BERT's weights, then the encoder gets the decoder's own parts where they are tied. So both stacks' cross-attention is
that which the decoder drew, and the slow copy keeps that which the encoder had drawn first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from stages.errors import UserError
from stages.models.blip.trainable.loading import load

_STACKS = ("text_encoder", "text_encoder_m", "text_decoder.bert")
_HEAD = "text_decoder.cls.predictions"
_TABLES = ("word_embeddings.weight", "position_embeddings.weight", "predictions.bias", "decoder.bias")
"""Weights with a row per word or position: BERT lacks the marks' rows, and may know more positions."""
_LEFT_OUT = ("head.", "head_dist.", "fc_norm.", "pre_logits.", "dist_token")
"""What image towers have behind their tokens."""
_PARTS = ("embeddings.", "encoder.")
_NOT_READ = ("embeddings.token_type_embeddings.weight", "embeddings.position_ids")


def initialise(
    module: nn.Module, vision: Mapping[str, Tensor] | None, text: Mapping[str, Tensor] | None, place: str
) -> list[str]:
    """Give a model that was just built what an image tower and BERT know.

    Args:
        module: one of the objectives.
        vision: weights of a plain vision transformer under timm's names, which are BLIP's; None for none. Its position
            embeddings are interpolated where the image size is another.
        text: weights of BERT under transformers' names, of `BertModel` or with the head that says words; None for none.
        place: where they are from, for messages.

    Returns:
        The published names of what stays as it was drawn.

    Raises:
        UserError: sizes differ, or one of them is of another kind.
    """
    own = module.state_dict()
    state = dict(_vision(vision or {}, own, place))
    if text is not None:
        state |= dict(_text(_plain(text), own))
        if not any(".layer." in name for name in state):
            raise UserError(f"{place}: no weights of BERT there")
    return load(module, state, place).random


def _vision(vision: Mapping[str, Tensor], own: Mapping[str, Tensor], place: str) -> Iterator[tuple[str, Tensor]]:
    kept = {name: value for name, value in vision.items() if not name.startswith(_LEFT_OUT)}
    if other := sorted(name for name in kept if f"visual_encoder.{name}" not in own):
        raise UserError(f"{place}: '{other[0]}' has no place in BLIP's image tower; take a plain vision transformer")
    for stack in ("visual_encoder", "visual_encoder_m"):
        yield from ((f"{stack}.{name}", value) for name, value in kept.items() if f"{stack}.{name}" in own)


def _plain(text: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without the prefix of a class with a head, and as they are since 2019."""
    since = {".gamma": ".weight", ".beta": ".bias"}
    plain = {}
    for name, value in text.items():
        for old, new in since.items():
            name = name.replace(old, new)  # noqa: PLW2901 - step by step
        plain[name.removeprefix("bert.")] = value
    return plain


def _text(bert: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, value in bert.items():
        if name.startswith("cls.predictions."):
            places = [f"{_HEAD}{name.removeprefix('cls.predictions')}"]
        elif name.startswith(_PARTS) and name not in _NOT_READ:
            places = [f"{stack}.{name}" for stack in _STACKS]
        else:
            continue
        for place in places:
            if place in own and not place.endswith("decoder.weight"):  # they are the words'
                yield place, _with_own_rows(value, own[place]) if place.endswith(_TABLES) else value


def _with_own_rows(table: Tensor, own: Tensor) -> Tensor:
    """The checkpoint's rows as far as the model has them, then the model's own."""
    return torch.cat([table[: len(own)].to(own), own[len(table) :]])
