"""What BLIP-2's second stage takes over from a first one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.errors import UserError
from stages.models.family import ModelName
from stages.models.qformer.checkpoint import read_checkpoint
from stages.models.qformer.model import QFormerConfig
from stages.models.qformer.queries import of_queries, query_path
from stages.models.qformer.sizes import sizes_of

_INNER = "layers.0.query_feed_forward.body.0.bias"


@dataclass(frozen=True)
class FirstStage:
    """Its queries, and what they have read."""

    config: QFormerConfig
    state: Mapping[str, Tensor]
    """Under the names of `query_path`, float32, on the CPU."""
    tower: ModelName | None
    """The frozen image tower that it was trained on; None where its file does not say."""


def read_first_stage(place: str, revision: str | None, key: str, heads: int, dropout: float) -> FirstStage:
    """Read one that `pretrain`, transformers or LAVIS has saved.

    Args:
        place: a folder, a hub name, or a `.pth` file.
        revision: the hub commit; None for what is local.
        key: the manifest key that names it, for messages.
        heads: of attention, where its file does not say.
        dropout: of what is trained from it.

    Raises:
        UserError: there is no such checkpoint, it is broken, or no first stage.
    """
    found = read_checkpoint(place, revision, key)
    if "queries" not in found.state:
        raise UserError(f"{key}: '{place}' is BERT, which has no queries; name a first stage, or leave {key} out")
    sizes, state = sizes_of(found.state), of_queries(found.state)
    inner, heads = state.get(_INNER), found.heads or heads
    config = QFormerConfig(
        vocabulary=1,
        vision_width=sizes.get("vision_width", 1),
        queries=sizes["queries"],
        width=state["queries"].shape[-1],
        layers=sizes["layers"],
        heads=heads,
        image_every=sizes.get("image_every", sizes["layers"]),
        dropout=dropout,
        inner=None if inner is None else len(inner),
    )
    with torch.device("meta"):
        wanted = query_path(config).state_dict()
    if lacks := [name for name in wanted if name not in state]:
        raise UserError(f"{key}: '{place}' is a first stage that lacks {len(lacks)} weights, {lacks[0]} first")
    if config.width % heads:
        raise UserError(f"{key}: '{place}' is {config.width} wide, which does not divide by {heads} heads")
    return FirstStage(config, {name: state[name] for name in wanted}, found.tower)
