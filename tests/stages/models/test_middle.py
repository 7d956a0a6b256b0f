"""Long strips: what the models see of them is what they saw, and is made of their middle alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from open_clip.transform import image_transform
from PIL import Image
from transformers import BlipImageProcessor

from stages.models.blip.checkpoint import Blip
from stages.models.clip.loading import load_clip
from stages.models.clip.tower import load_tower
from stages.models.family import ModelName
from stages.models.middle import middle, safe

CPU = torch.device("cpu")


def strip(width: int, height: int) -> Image.Image:
    """Smooth, another colour everywhere."""
    along = np.linspace(0, 8 * np.pi, max(width, height))
    colours = np.stack([np.sin(along + shift) for shift in (0, 2, 4)], -1) * 100 + 128
    pixels = np.broadcast_to(colours[:, None], (len(along), min(width, height), 3)).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(pixels.swapaxes(0, 1) if width > height else pixels))


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (20, 400), (400, 20), (1, 1), (1, 21)])
def test_pictures_of_a_usual_shape_are_left_alone(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size)
    assert middle(image) is image


@pytest.mark.parametrize("size", [(1800, 60), (60, 1801), (1999, 7), (2, 3000), (999, 41)])
def test_a_centre_crop_of_the_middle_is_that_of_the_whole(size: tuple[int, int]) -> None:
    transform = image_transform(32, is_train=False, mean=(0, 0, 0), std=(1, 1, 1))
    image = strip(*size)
    part = middle(image)
    shorter, longer = sorted(part.size)
    assert shorter == min(size)
    assert 20 * shorter <= longer <= 22 * shorter
    torch.testing.assert_close(transform(part), transform(image), atol=0.02, rtol=0)


def largest(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Pixels of whatever is resized to from now on."""
    sizes, resize = [0], Image.Image.resize

    def record(image: Image.Image, size: Any, *arguments: Any, **options: Any) -> Image.Image:
        assert size[0] * size[1] < 10**6
        sizes[0] = max(sizes[0], size[0] * size[1])
        return resize(image, size, *arguments, **options)

    monkeypatch.setattr(Image.Image, "resize", record)
    return sizes


@pytest.mark.parametrize("size", [(30_000, 2), (1, 65_500)])
def test_every_model_prepares_a_strip_without_making_it_large(
    size: tuple[int, int], clip_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = ModelName("rank.model", str(clip_folder), None, None)
    scorer, (_, view) = load_clip(name, "float32", CPU), load_tower(name, "float32", CPU)
    sizes = largest(monkeypatch)
    for prepare in (scorer.preprocess, view.preprocess):
        assert prepare(strip(*size)).shape == (3, 32, 32)
    assert sizes[0] <= 32 * 32 * 22


@pytest.mark.parametrize("mode", ["longest", "squash"])
def test_the_other_ways_of_open_clip_to_resize_take_strips_too(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    transform = image_transform(32, is_train=False, mean=(0, 0, 0), std=(1, 1, 1), resize_mode=mode)
    prepare = safe(transform, {"resize_mode": mode, "size": (32, 32)})
    sizes = largest(monkeypatch)
    assert prepare(strip(30_000, 2)).shape == (3, 32, 32)
    assert sizes[0] <= 32 * 32
    usual = strip(90, 40)
    assert torch.equal(prepare(usual), transform(usual))


def test_a_processor_of_transformers_that_scales_the_shorter_side(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    call = BlipImageProcessor.__call__

    def record(processor: BlipImageProcessor, image: Image.Image, **options: Any) -> Any:
        seen.append(image.size)
        return call(processor, image, **options)

    monkeypatch.setattr(BlipImageProcessor, "__call__", record)
    crops = BlipImageProcessor(size={"shortest_edge": 32}, do_center_crop=True, crop_size=32)
    squashes = BlipImageProcessor(size={"height": 32, "width": 32})
    for processor in (crops, squashes):
        prepare = Blip(None, None, processor).preprocess  # type: ignore[arg-type, type-var]
        assert prepare(strip(3000, 2)).shape == (3, 32, 32)
    assert seen == [(40, 2), (3000, 2)]
