"""The frozen tower against the block whose output it is to give."""

from __future__ import annotations

import open_clip
import pytest
import torch
from open_clip.timm_model import TimmModel

from stages.errors import UserError
from stages.models.clip.tower import load_tower
from stages.models.family import ModelName
from stages.models.vision.tower import VisionTower

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def output_of(block: torch.nn.Module, run: torch.nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    kept: list[torch.Tensor] = []
    handle = block.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    with torch.no_grad():
        run(pixels)
    handle.remove()
    return kept[0]


def test_it_gives_the_last_but_one_block_of_open_clips_tower(clip_folder, pixels):
    tower, view = load_tower(ModelName("pretrain.model", str(clip_folder), None, None), "float32", CPU)
    clip = open_clip.create_model(f"local-dir:{clip_folder}").eval()
    found = tower(pixels)
    assert found.shape == (2, 1 + 4 * 4, 32)
    torch.testing.assert_close(found, output_of(clip.visual.transformer.resblocks[-2], clip.visual, pixels))
    assert view.size == (32, 32)
    assert view.mean == (0.48, 0.46, 0.41)


def test_it_gives_the_last_but_one_block_of_timms_tower(pixels):
    visual = TimmModel("vit_tiny_patch16_224", embed_dim=8, image_size=224, pretrained=False)
    tower, pixels = VisionTower(visual, torch.float32), pixels.repeat(1, 1, 7, 7)
    assert tower(pixels).shape == (2, 1 + 14 * 14, 192)
    torch.testing.assert_close(tower(pixels), output_of(visual.trunk.blocks[-2], visual, pixels))


@torch.no_grad()
def test_the_mean_of_its_tokens_goes_through_the_towers_own_last_steps(clip_folder, pixels):
    tower, _ = load_tower(ModelName("pretrain.model", str(clip_folder), None, None), "float32", CPU)
    clip = open_clip.create_model(f"local-dir:{clip_folder}").eval()
    features = tower(pixels)
    expected = clip.visual.ln_post(features.mean(dim=1)) @ clip.visual.proj
    torch.testing.assert_close(tower.pool(features), expected)


@pytest.mark.parametrize("pool", ["token", "avg"])
@torch.no_grad()
def test_the_mean_goes_through_the_last_steps_of_timms_tower(pool, pixels):
    visual = TimmModel("vit_tiny_patch16_224", embed_dim=8, image_size=224, pool=pool, pretrained=False).eval()
    tower = VisionTower(visual, torch.float32)
    features = tower(pixels.repeat(1, 1, 7, 7))
    mean = features.mean(dim=1)
    expected = visual.head(visual.trunk.fc_norm(visual.trunk.norm(mean)))
    torch.testing.assert_close(tower.pool(features), expected)


def test_it_stays_frozen(clip_folder, pixels):
    tower, _ = load_tower(ModelName("pretrain.model", str(clip_folder), None, None), "float32", CPU)
    assert not torch.nn.Sequential(tower).train()[0].training
    assert not any(module.training for module in tower.modules())
    assert not any(parameter.requires_grad for parameter in tower.parameters())
    assert not tower(pixels.requires_grad_()).requires_grad


def test_half_precision_is_close(clip_folder, pixels):
    name = ModelName("pretrain.model", str(clip_folder), None, None)
    half, _ = load_tower(name, "bfloat16", CPU)
    full, _ = load_tower(name, "float32", CPU)
    assert half(pixels).dtype == torch.bfloat16
    torch.testing.assert_close(half(pixels).float(), full(pixels), rtol=0.1, atol=0.3)


def test_a_tower_without_blocks_is_refused_in_one_line(tmp_path):
    import json

    from safetensors.torch import save_file

    vision = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
    text = {"context_length": 8, "vocab_size": 10, "width": 8, "heads": 2, "layers": 1}
    config = {"embed_dim": 8, "vision_cfg": vision, "text_cfg": text}
    model = open_clip.CLIP(**config)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, tmp_path / "model.safetensors")
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    with pytest.raises(UserError, match=r"^pretrain\.model: .* is a ModifiedResNet, .*; name a transformer such as"):
        load_tower(ModelName("pretrain.model", str(tmp_path), None, None), "float32", CPU)
