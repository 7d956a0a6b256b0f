"""Small image towers of open_clip and timm with every number drawn."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import timm
import torch
from open_clip.timm_model import TimmModel
from timm.models import register_model, save_for_hf

SIZE = 28
"""Pixels of a side."""


@register_model
def vit_siglip_of_a_test(pretrained: bool = False, **changes: object) -> torch.nn.Module:
    """SigLIP's image tower, but for its size."""
    sizes = {"img_size": 32, "patch_size": 8, "depth": 3, "embed_dim": 32, "num_heads": 4}
    return timm.create_model("vit_base_patch16_siglip_224", pretrained=False, **(sizes | changes))


@register_model
def eva02_of_a_test(pretrained: bool = False, **changes: object) -> torch.nn.Module:
    """EVA-02-CLIP's image tower, but for its size: rotary positions, a gated feed-forward, norms within."""
    sizes = {"img_size": 32, "patch_size": 8, "depth": 3, "embed_dim": 48, "num_heads": 4}
    return timm.create_model("eva02_base_patch16_clip_224", pretrained=False, **(sizes | changes))


def clip(**changes: object) -> torch.nn.Module:
    vision = {"image_size": SIZE, "layers": 3, "width": 32, "head_width": 8, "patch_size": 7, **changes}
    text = {"context_length": 8, "vocab_size": 20, "width": 16, "heads": 2, "layers": 1}
    quick = bool(vision.pop("quick_gelu", False))
    torch.manual_seed(0)
    return open_clip.CLIP(embed_dim=8, vision_cfg=vision, text_cfg=text, quick_gelu=quick).visual


def of_timm(name: str, **changes: object) -> torch.nn.Module:
    """A small tower of timm, as open_clip holds it."""
    torch.manual_seed(0)
    visual = TimmModel("test_vit", embed_dim=8, pretrained=False)
    visual.trunk = timm.create_model(name, img_size=SIZE, depth=3, embed_dim=32, num_heads=4, num_classes=0, **changes)
    return visual


def eva(**changes: object) -> torch.nn.Module:
    """The architecture of EVA-CLIP ViT-g."""
    return of_timm("eva_giant_patch14_224", **changes)


def with_activation(visual: torch.nn.Module, activation: torch.nn.Module) -> torch.nn.Module:
    """A tower of timm with another activation."""
    for block in visual.trunk.blocks:
        block.mlp.act = activation
    return visual


def drawn(visual: torch.nn.Module) -> torch.nn.Module:
    """Every number drawn, so that no two weights can be exchanged unnoticed; patches as large as trained ones."""
    generator = torch.Generator().manual_seed(0)
    for parameter in visual.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
    return visual.eval()


def save_dinov2(folder: Path) -> torch.nn.Module:
    """DINOv2 in timm's format, but for its size; the model itself."""
    return _save("vit_small_patch14_dinov2", folder, img_size=SIZE, init_values=0.5)


def save_vit(folder: Path) -> torch.nn.Module:
    """A plain vision transformer in timm's format, but for its size; the model itself."""
    return _save("vit_base_patch16_224", folder, img_size=SIZE, patch_size=7)


def _save(name: str, folder: Path, **changes: object) -> torch.nn.Module:
    sizes = {"depth": 3, "embed_dim": 32, "num_heads": 4, "num_classes": 0, **changes}
    torch.manual_seed(0)
    model = drawn(timm.create_model(name, pretrained=False, **sizes))
    save_for_hf(model, folder, model_args=sizes, safe_serialization=True)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["pretrained_cfg"] |= {"input_size": [3, SIZE, SIZE]}
    path.write_text(json.dumps(config))
    return model
