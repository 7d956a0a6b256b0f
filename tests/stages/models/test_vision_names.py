"""Image towers of open_clip and timm, computed by transformers' BLIP-2 tower."""

from __future__ import annotations

from types import SimpleNamespace

import open_clip
import pytest
import timm
import torch
from open_clip.timm_model import TimmModel
from transformers import Blip2VisionConfig, Blip2VisionModel

from stages.models.vision_names import to_lavis, to_transformers
from stages.models.vision_tower import VisionTower


def clip(**changes: object) -> torch.nn.Module:
    vision = {"image_size": 28, "layers": 3, "width": 32, "head_width": 8, "patch_size": 7, **changes}
    text = {"context_length": 8, "vocab_size": 20, "width": 16, "heads": 2, "layers": 1}
    quick = bool(vision.pop("quick_gelu", False))
    return open_clip.CLIP(embed_dim=8, vision_cfg=vision, text_cfg=text, quick_gelu=quick).visual


def of_timm(name: str, **changes: object) -> torch.nn.Module:
    """A small tower of timm, as open_clip holds it."""
    visual = TimmModel("vit_tiny_patch16_224", embed_dim=8, pretrained=False)
    visual.trunk = timm.create_model(name, img_size=28, depth=3, embed_dim=32, num_heads=4, num_classes=0, **changes)
    return visual


def eva(**changes: object) -> torch.nn.Module:
    """The architecture of EVA-CLIP ViT-g."""
    return of_timm("eva_giant_patch14_224", **changes)


TOWERS = {
    "EVA-CLIP": eva,
    "EVA with layer scale": lambda: eva(init_values=0.5),
    "CLIP with QuickGELU": lambda: clip(quick_gelu=True),
    "CLIP with GELU": clip,
    "CLIP without a norm before its blocks": lambda: clip(no_ln_pre=True, ls_init_value=0.5),
    "a plain ViT": lambda: of_timm("vit_tiny_patch16_224", patch_size=7, init_values=0.5),
}


def drawn(visual: torch.nn.Module) -> torch.nn.Module:
    """Every number drawn, so that no two weights can be exchanged unnoticed; patches as large as trained ones."""
    generator = torch.Generator().manual_seed(0)
    for parameter in visual.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
    return visual.eval()


def converted(visual: torch.nn.Module, blocks: int) -> Blip2VisionModel:
    config, state = to_transformers(visual, blocks, 28)
    model = Blip2VisionModel(Blip2VisionConfig(**config)).eval()
    missing = model.load_state_dict(state, strict=False)
    assert missing.missing_keys == ["post_layernorm.weight", "post_layernorm.bias"]
    assert not missing.unexpected_keys
    return model


@torch.no_grad()
@pytest.mark.parametrize("name", TOWERS)
def test_transformers_computes_the_same_features(name):
    visual = drawn(TOWERS[name]())
    tower = VisionTower(visual, torch.float32)
    model = converted(visual, tower.penultimate + 1)
    pixels = torch.randn(3, 3, 28, 28, generator=torch.Generator().manual_seed(1))
    pixels[2] = -1.0
    features = tower(pixels)
    wanted = torch.nn.functional.layer_norm(features, features.shape[-1:])
    torch.testing.assert_close(model(pixels).last_hidden_state, wanted, rtol=0, atol=1e-4)
    half = model.to(torch.bfloat16)(pixels.to(torch.bfloat16)).last_hidden_state
    assert (half.float() - wanted).abs().mean() < 0.03


@torch.no_grad()
def test_where_float16_would_lose_a_norm_nothing_but_nan_comes_out():
    model = converted(drawn(clip()), 2).half()
    assert model(torch.randn(1, 3, 28, 28).half()).last_hidden_state.isnan().all()


def test_eva_clips_vit_g_has_the_sizes_that_transformers_publishes():
    with torch.device("meta"):
        visual = TimmModel("eva_giant_patch14_224", embed_dim=1024, image_size=224, pool="token", pretrained=False)
        config, state = to_transformers(visual, 39, 224)
        model = Blip2VisionModel(Blip2VisionConfig())
    defaults = Blip2VisionConfig().to_dict()
    assert {name: defaults[name] for name in config} == config
    shapes = {name: value.shape for name, value in model.state_dict().items() if "post_layernorm" not in name}
    assert {name: value.shape for name, value in state.items()} == shapes


def test_what_has_no_place_is_refused():
    sigmoid = eva()
    sigmoid.trunk.blocks[0].mlp.act = torch.nn.SiLU()
    with pytest.raises(ValueError, match="its activation is SiLU"):
        to_transformers(sigmoid, 2, 28)
    with pytest.raises(ValueError, match="32 wide inside, where a norm before them needs 64"):
        to_transformers(clip(mlp_ratio=1.0), 2, 28)
    with pytest.raises(AttributeError):
        to_transformers(SimpleNamespace(trunk=timm.create_model("resnet18", pretrained=False)), 2, 28)


@pytest.mark.parametrize(
    ("visual", "names"),
    [
        (eva, {"cls_token", "pos_embed", "blocks.1.attn.q_bias", "blocks.1.mlp.fc2.weight", "patch_embed.proj.bias"}),
        (clip, {"class_embedding", "ln_pre.weight", "conv1.weight", "transformer.resblocks.1.attn.in_proj_weight"}),
    ],
)
def test_lavis_gets_the_blocks_that_are_kept_and_what_precedes_them(visual, names):
    state = to_lavis(visual(), 2)
    assert names <= set(state)
    assert not any(
        name.startswith(("blocks.2", "transformer.resblocks.2", "ln_post", "proj", "fc_norm")) for name in state
    )
