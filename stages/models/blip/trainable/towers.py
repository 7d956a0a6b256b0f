"""An image tower of another library as the one that BLIP trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from stages.contract import path_of
from stages.errors import UserError
from stages.models import families
from stages.models.blip.reading import read_blip
from stages.models.blip.trainable.config import VisionConfig
from stages.models.blip.trainable.published import vision_config
from stages.models.families import load_tower
from stages.models.family import ModelName
from stages.models.vision.names import to_transformers

BLIPS = "visual_encoder."
"""What BLIP's own names of its image tower begin with."""
_NAMES = {
    "embeddings.class_embedding": "cls_token",
    "embeddings.position_embedding": "pos_embed",
    "embeddings.patch_embedding": "patch_embed.proj",
    "encoder.layers": "blocks",
    "layer_norm1": "norm1",
    "layer_norm2": "norm2",
    "self_attn.qkv": "attn.qkv",
    "self_attn.projection": "attn.proj",
}


@dataclass(frozen=True)
class Tower:
    """An image tower's weights under BLIP's names, and its sizes."""

    state: dict[str, Tensor]
    config: VisionConfig


def read_tower(name: ModelName) -> Tower:
    """Read the image tower of open_clip, timm, DINOv2 or another BLIP; its last norm is BLIP's.

    Raises:
        UserError: there is no such model, or it has parts that a plain vision transformer has no place for.
    """
    if _is_blip(name):
        checkpoint = read_blip(name.model, name.revision, name.key)
        own = {key: value for key, value in checkpoint.state.items() if key.startswith(BLIPS)}
        return Tower(
            {key.removeprefix(BLIPS): value for key, value in own.items()}, vision_config(checkpoint.description)
        )
    tower, view = load_tower(name, "float32", torch.device("cpu"))
    visual = tower.visual
    own = visual if hasattr(visual, "transformer") else visual.trunk
    try:
        config, state = to_transformers(visual, tower.depth, view.size[0])
        norm = own.ln_post if hasattr(visual, "transformer") else own.norm
        _see_that_it_trains(config, tower.depth, norm)
    except (ValueError, AttributeError) as error:
        raise UserError(
            f"{name.key}: '{name.model}' is no plain vision transformer such as BLIP's: {error}; take one of timm, "
            "such as 'timm/deit_base_patch16_224.fb_in1k', or leave it out"
        ) from None
    named = {_published(key): value for key, value in state.items()}
    named |= {"norm.weight": norm.weight.detach(), "norm.bias": norm.bias.detach()}
    return Tower(named, _config(config))


def _is_blip(name: ModelName) -> bool:
    """Whether it is a `.pth` file, or a folder or hub model of BLIP."""
    path = path_of(name.model)
    if name.pretrained is not None or families.is_architecture(name):
        return False
    if path is not None and path.is_file():
        return True
    return (name.source().config("config.json") or {}).get("model_type") == "blip"


def _see_that_it_trains(config: dict[str, Any], depth: int, norm: nn.Module) -> None:
    if not isinstance(norm, nn.LayerNorm):
        raise ValueError("it has no norm behind its blocks")  # noqa: TRY004 - a model's fault
    if config["num_hidden_layers"] != depth:
        raise ValueError("it has a norm before its blocks")
    if config["hidden_act"] != "gelu":
        raise ValueError(f"its activation is {config['hidden_act']}")


def _published(name: str) -> str:
    for theirs, ours in _NAMES.items():
        name = name.replace(theirs, ours)
    return name


def _config(config: dict[str, Any]) -> VisionConfig:
    return VisionConfig(
        width=config["hidden_size"],
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        patch=config["patch_size"],
        image_size=config["image_size"],
        inner=config["intermediate_size"],
        epsilon=config["layer_norm_eps"],
    )
