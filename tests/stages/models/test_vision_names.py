"""Image towers of open_clip and timm, computed by transformers' BLIP-2 tower."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import timm
import torch
from open_clip.timm_model import TimmModel
from small_towers import SIZE, clip, drawn, eva, of_timm, with_activation
from transformers import Blip2VisionConfig, Blip2VisionModel

from stages.models.vision.names import to_transformers
from stages.models.vision.tower import VisionTower

TOWERS = {
    "EVA-CLIP": eva,
    "EVA with layer scale": lambda: eva(init_values=0.5),
    "CLIP with QuickGELU": lambda: clip(quick_gelu=True),
    "CLIP with GELU": clip,
    "CLIP without a norm before its blocks": lambda: clip(no_ln_pre=True, ls_init_value=0.5),
    "a plain ViT": lambda: of_timm("vit_tiny_patch16_224", patch_size=7, init_values=0.5),
}


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


NO_PLACE = {
    "its activation is SiLU": lambda: with_activation(eva(), torch.nn.SiLU()),
    "32 wide inside, where a norm before them needs 64": lambda: clip(mlp_ratio=1.0),
    r"it has register tokens \(reg_token\)": lambda: eva(num_reg_tokens=2),
    r"it has norms of queries and keys \(transformer.resblocks.0.attn.ln_q\)": lambda: clip(qk_norm=True),
    r"it has scales or norms in its attention": lambda: clip(scale_attn=True),
    r"it has norms in its feed-forward": lambda: clip(scale_fc=True),
    r"it has a gated feed-forward": lambda: eva(swiglu_mlp=True, scale_mlp=True),
    r"it lacks positions of its own \(pos_embed\)": lambda: eva(use_abs_pos_emb=False, use_rot_pos_emb=True),
    r"it lacks a class token \(cls_token\)": lambda: of_timm("vit_base_patch16_siglip_224", patch_size=7),
    "it has a part of another kind": lambda: SimpleNamespace(trunk=timm.create_model("resnet18", pretrained=False)),
}


@pytest.mark.parametrize("reason", NO_PLACE)
def test_what_has_no_place_is_named(reason):
    with pytest.raises(ValueError, match=reason):
        to_transformers(NO_PLACE[reason](), 2, SIZE)
