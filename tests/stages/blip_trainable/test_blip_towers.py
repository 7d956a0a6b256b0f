"""Image towers of other libraries as the one that BLIP trains: the same tokens, or a line that says why not."""

from __future__ import annotations

from pathlib import Path

import pytest
import small_towers
import torch
from transformers import BlipForImageTextRetrieval

from stages.errors import UserError
from stages.models.blip.trainable.towers import read_tower
from stages.models.blip.trainable.vision import VisionTransformer
from stages.models.family import ModelName

KEY = "med.vision"


def ours(folder: Path) -> VisionTransformer:
    tower = read_tower(ModelName(KEY, str(folder)))
    vision = VisionTransformer(tower.config)
    vision.load_state_dict(tower.state)
    return vision.eval()


def pixels(size: int) -> torch.Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("save", [small_towers.save_vit, small_towers.save_dinov2])
def test_a_tower_of_timm_gives_the_same_tokens(save, tmp_path: Path) -> None:
    """DINOv2's layer scales go into the weights."""
    model = save(tmp_path)
    with torch.no_grad():
        expected = model.forward_features(pixels(small_towers.SIZE))
        torch.testing.assert_close(ours(tmp_path)(pixels(small_towers.SIZE)), expected, rtol=0, atol=2e-5)


def test_the_tower_of_another_blip(itm_folder: Path) -> None:
    model = BlipForImageTextRetrieval.from_pretrained(itm_folder).eval()
    size = model.config.vision_config.image_size
    with torch.no_grad():
        expected = model.vision_model(pixels(size)).last_hidden_state
        torch.testing.assert_close(ours(itm_folder)(pixels(size)), expected, rtol=0, atol=2e-5)


def test_a_norm_before_the_blocks_is_told(clip_folder: Path) -> None:
    with pytest.raises(UserError, match=r"med\.vision: .* is no plain vision transformer .* a norm before its blocks"):
        read_tower(ModelName(KEY, str(clip_folder)))
