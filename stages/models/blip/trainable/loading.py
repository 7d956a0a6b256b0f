"""Weights into BLIP as it is trained, by the names of the published files.

What the files hold under several names, since it is tied, may be given under any of them. Slow copies that are not
given begin as what they follow.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from stages.errors import UserError
from stages.models.blip.positions import resize_positions
from stages.models.blip.trainable.contrast import FOLLOWING

QUEUES: Final = ("image_queue", "text_queue", "idx_queue", "queue_ptr", "ptr_queue")
_NOT_DRAWN: Final = (*QUEUES, "temp")
_PLACES: Final = ".pos_embed"


class Begun(NamedTuple):
    """What a model begins with; published names, sorted."""

    random: list[str]
    """What was not given and stays as it was drawn; of tied weights the first name, slow copies left out."""
    unused: list[str]
    """What was given and has no place in the model."""


def load(module: nn.Module, state: Mapping[str, Tensor], place: str) -> Begun:
    """Give a model the weights of a state.

    Position embeddings of another image size are interpolated as BLIP does; queues of another size stay as they are,
    and so does the place in them.

    Args:
        module: one of the objectives; in any number format.
        state: weights under published names, such as `model` of a `.pth` file; some may be missing.
        place: where they are from, for messages.

    Raises:
        UserError: a shape is another than the model's, or weights that the model shares differ.
    """
    own = module.state_dict(keep_vars=True)
    given = _without_other_queues(state, own)
    given = {name: _fit(name, value, own[name]) for name, value in given.items() if name in own}
    if wrong := [name for name, value in given.items() if value.shape != own[name].shape]:
        raise UserError(f"{place}: {_told(wrong, given, own)}")
    aliases = _aliases(own)
    if torn := [names for names in aliases if _differ([given[name] for name in names if name in given])]:
        raise UserError(
            f"{place}: '{torn[0][0]}' and '{torn[0][-1]}' differ there, and here they are one; set `sharing`"
        )
    module.load_state_dict(given, strict=False)
    _follow(own, given)
    random = (names[0] for names in aliases if not any(name in given for name in names))
    return Begun(sorted(filter(_is_drawn, random)), sorted(name for name in state if name not in own))


def _fit(name: str, value: Tensor, own: Tensor) -> Tensor:
    if not name.endswith(_PLACES) or not all(map(_is_square, (value, own))):
        return value
    return resize_positions(value, round((own.shape[1] - 1) ** 0.5))


def _is_square(positions: Tensor) -> bool:
    patches = positions.shape[1] - 1
    return round(math.sqrt(patches)) ** 2 == patches


def _follow(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    """Let slow copies that were not given begin as what they follow, where that was."""
    known = {id(own[name]) for name in given}
    for name, value in own.items():
        head, _, rest = name.partition(".")
        followed = own.get(f"{head.removesuffix('_m')}.{rest}")
        if followed is not None and head.endswith("_m") and name not in given and id(followed) in known:
            value.data.copy_(followed)


def _without_other_queues(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    sizes = {held["image_queue"].shape for held in (state, own) if "image_queue" in held}
    return state if len(sizes) < 2 else {name: value for name, value in state.items() if name not in QUEUES}


def _aliases(own: Mapping[str, Tensor]) -> list[list[str]]:
    """The names of each weight."""
    names: dict[int, list[str]] = defaultdict(list)
    for name, value in own.items():
        names[id(value)].append(name)
    return list(names.values())


def _differ(values: list[Tensor]) -> bool:
    return any(not torch.equal(values[0], value) for value in values[1:])


def _is_drawn(name: str) -> bool:
    follows = any(name.startswith(f"{part}_m.") for part in FOLLOWING)
    return not (follows or name in _NOT_DRAWN or name.endswith("position_ids"))


def _told(wrong: list[str], given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    name, *others = wrong
    more = f", and {len(others)} more differ" if others else ""
    return f"'{name}' is {tuple(given[name].shape)} there and {tuple(own[name].shape)} here{more}; set the same sizes"
