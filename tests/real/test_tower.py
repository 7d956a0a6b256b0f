"""The tower out of the ONNX file computes what transformers' DINOv2 does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor
from transformers import Dinov2Config, Dinov2Model

from stages.models.blip.trainable.towers import read_tower
from stages.models.family import ModelName
from stages.training.view import MEAN, STD
from tests.real.onnx_weights import read_weights
from tests.real.tower import PREFIX, to_timm, write

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
NAMELESS = {"query": "q_proj", "key": "k_proj", "value": "v_proj"}


def field(number: int, value: int | bytes | str) -> bytes:
    """A field of a message of Protocol Buffers."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    low, rest = value & 127, value >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def initializer(name: str, value: Tensor) -> bytes:
    dims = b"".join(field(1, size) for size in value.shape)
    return field(5, dims + field(2, 1) + field(8, name) + field(9, value.contiguous().numpy().tobytes()))


def product(name: str, weight: str) -> bytes:
    return field(1, field(1, "x") + field(1, weight) + field(2, "y") + field(3, f"/{name}/MatMul") + field(4, "MatMul"))


@pytest.fixture(scope="module")
def dinov2() -> Dinov2Model:
    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=128, num_hidden_layers=2, num_attention_heads=2, image_size=42, patch_size=14, layerscale_value=0.5
    )
    model = Dinov2Model(config).eval()
    for value in model.parameters():
        torch.nn.init.normal_(value, std=0.1) if value.dim() > 1 else torch.nn.init.uniform_(value, 0.3, 1.2)
    return model


def as_onnx(model: Dinov2Model) -> bytes:
    """The file as torch's exporter writes it: linear layers transposed and without names, positions in two."""
    message, number = b"", 0
    for name, value in model.state_dict().items():
        named = name.replace("attention.o_proj", "attention.output.dense")
        for ours, theirs in NAMELESS.items():
            named = named.replace(f"attention.{theirs}", f"attention.attention.{ours}")
        if "position" in named:
            message += initializer("onnx::Concat_1", value[:, :1]) + initializer("onnx::Reshape_2", value[:, 1:])
        elif value.dim() == 2 and named.endswith(".weight"):
            number += 1
            message += initializer(f"onnx::MatMul_{number}", value.T)
            message += product(f"{PREFIX}{named}".removesuffix(".weight").replace(".", "/"), f"onnx::MatMul_{number}")
        elif "mask" not in named:
            message += initializer(f"{PREFIX}{named}", value)
    return field(1, 8) + field(7, message)


def normalised(pixels: Tensor, how: Sequence[Sequence[float]]) -> Tensor:
    mean, std = (torch.tensor(each)[:, None, None] for each in how)
    return (pixels - mean) / std


def test_the_tower_of_the_file_is_dinov2_for_pixels_of_blip(dinov2, tmp_path: Path):
    file, folder = tmp_path / "model.onnx", tmp_path / "tower"
    file.write_bytes(as_onnx(dinov2))
    write(to_timm(read_weights(file)), folder)
    pixels = torch.rand(2, 3, 42, 42)
    with torch.no_grad():
        expected = dinov2(normalised(pixels, IMAGENET)).last_hidden_state
        tower = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        found = tower.forward_features(normalised(pixels, (MEAN, STD)))
    assert torch.allclose(found, expected, atol=1e-4), (found - expected).abs().max()


def test_med_takes_the_folder_and_has_no_layer_scale_left(dinov2, tmp_path: Path):
    file, folder = tmp_path / "model.onnx", tmp_path / "tower"
    file.write_bytes(as_onnx(dinov2))
    write(to_timm(read_weights(file)), folder)
    tower = read_tower(ModelName("med.vision", str(folder)))
    layer = dinov2.encoder.layer[1]
    scaled = layer.layer_scale2.lambda1[:, None] * layer.mlp.fc2.weight
    assert torch.allclose(tower.state["blocks.1.mlp.fc2.weight"], scaled, atol=1e-6)
    assert (tower.config.patch, tower.config.heads, tower.config.image_size) == (14, 2, 42)
    assert not [name for name in tower.state if ".ls" in name]
