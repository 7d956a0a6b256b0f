"""Image towers of every family, against the output of the block that they are to give."""

import json
from pathlib import Path

import open_clip
import pytest
import small_models
import small_towers
import timm
import torch
from PIL import Image

from stages.errors import UserError
from stages.models.families import load_tower
from stages.models.family import ModelName
from stages.models.vision.kind import is_transformer
from stages.models.vision.tower import VisionTower

CPU = torch.device("cpu")


def name_of(folder: Path) -> ModelName:
    return ModelName("pretrain.model", str(folder))


@torch.no_grad()
def output_of(block: torch.nn.Module, run: torch.nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    kept: list[torch.Tensor] = []
    handle = block.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    run.eval()(pixels)
    handle.remove()
    return kept[0]


def drawn_pixels(size: int) -> torch.Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_siglip_has_no_token_beside_its_patches(tmp_path: Path) -> None:
    model = small_models.save_siglip(tmp_path / "model")
    tower, view = load_tower(name_of(tmp_path / "model"), "float32", CPU)
    pixels = drawn_pixels(32)
    found = tower(pixels)
    assert found.shape == (2, 4 * 4, 32)
    torch.testing.assert_close(found, output_of(model.visual.trunk.blocks[-2], model.visual, pixels))
    assert (view.size, view.mean) == ((32, 32), (0.5, 0.5, 0.5))


@torch.no_grad()
def test_the_mean_goes_through_siglips_own_last_steps(tmp_path: Path) -> None:
    model = small_models.save_siglip(tmp_path / "model")
    tower, _ = load_tower(name_of(tmp_path / "model"), "float32", CPU)
    features, trunk = tower(drawn_pixels(32)), model.visual.trunk
    expected = trunk.fc_norm(trunk.attn_pool(trunk.norm(features.mean(dim=1, keepdim=True))))
    torch.testing.assert_close(tower.pool(features), expected)


def test_eva02(tmp_path: Path) -> None:
    vision = {"image_size": 32, "timm_model_name": "eva02_of_a_test", "timm_pool": "token", "timm_proj": None}
    model = small_models.save_open_clip(tmp_path / "model", vision)
    tower, _ = load_tower(name_of(tmp_path / "model"), "float32", CPU)
    pixels = drawn_pixels(32)
    torch.testing.assert_close(tower(pixels), output_of(model.visual.trunk.blocks[-2], model.visual, pixels))
    assert tower.pool(tower(pixels)).shape == (2, 24)


def test_dinov2_of_timm(tmp_path: Path, pictures: dict[str, Image.Image]) -> None:
    model = small_towers.save_dinov2(tmp_path / "model")
    tower, view = load_tower(name_of(tmp_path / "model"), "float32", CPU)
    pixels = drawn_pixels(28)
    assert tower(pixels).shape == (2, 1 + 2 * 2, 32)
    torch.testing.assert_close(tower(pixels), output_of(model.blocks[-2], model, pixels))
    config = timm.data.resolve_model_data_config(model) | {"input_size": (3, 28, 28), "crop_pct": 1.0}
    transform = timm.data.create_transform(**config, is_training=False)
    for image in pictures.values():
        torch.testing.assert_close(view.preprocess(image), transform(image))
    assert view.std == (0.229, 0.224, 0.225)
    half, _ = load_tower(name_of(tmp_path / "model"), "bfloat16", CPU)
    assert half(pixels).dtype == torch.bfloat16


@torch.no_grad()
def test_registers_are_tokens_too() -> None:
    visual = small_towers.of_timm(
        "vit_small_patch14_reg4_dinov2", patch_size=7, init_values=0.5, global_pool="avg"
    ).eval()
    visual.head = torch.nn.Identity()
    tower = VisionTower(visual, torch.float32)
    features = tower(drawn_pixels(28))
    assert features.shape == (2, 5 + 4 * 4, 32)
    expected = visual.trunk.fc_norm(visual.trunk.norm(features.mean(dim=1)))
    torch.testing.assert_close(tower.pool(features), expected)


def test_a_model_of_timm_that_is_broken(tmp_path: Path) -> None:
    small_towers.save_dinov2(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"^pretrain\.model: the folder .* cannot be loaded as an image model of timm"):
        load_tower(name_of(tmp_path / "model"), "float32", CPU)


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "test_efficientnet", "convnext_atto"])
def test_what_is_no_transformer_by_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architecture": name}))
    with pytest.raises(UserError, match=rf"^pretrain\.model: .* of timm \({name}\), without the tokens that a Q-Form"):
        load_tower(name_of(tmp_path), "float32", CPU)


@pytest.mark.slow
def test_names_of_timm_tell_which_towers_of_open_clip_are_transformers() -> None:
    configs = [open_clip.get_model_config(name)["vision_cfg"] for name in open_clip.list_models()]
    for name in sorted({config["timm_model_name"] for config in configs if "timm_model_name" in config}):
        with torch.device("meta"):
            trunk = timm.create_model(name, num_classes=0)
        assert is_transformer(name) == (hasattr(trunk, "blocks") and hasattr(trunk, "patch_embed")), name
