"""BLIP in float64 and small enough for loops, and what it is trained on."""

from __future__ import annotations

from typing import Any

import torch
from naive_blip import CLS, MOMENTUM, PROJECTION, QUEUE, SEP, VISION_WIDTH, VOCABULARY, WIDTH, Naive
from naive_names import gradients_of, state_of
from torch import Tensor, nn

from stages.models.blip.trainable.config import BlipConfig, Sharing, TextConfig, VisionConfig
from stages.models.blip.trainable.loading import load
from stages.models.blip.trainable.pretraining import PretrainingBatch
from stages.models.blip.trainable.retrieval import RetrievalBatch
from stages.models.blip.trainable.texts import Texts

SIZE = 4
WORDS = range(3, VOCABULARY - 2)


def config(sharing: Sharing = "all but self-attention", checkpointed: int = 1) -> BlipConfig:
    vision = VisionConfig(VISION_WIDTH, layers=2, heads=3, patch=4, image_size=12, inner=48, checkpointed=checkpointed)
    text = TextConfig(VOCABULARY, WIDTH, layers=2, heads=2, inner=32, positions=12, dropout=0.0, start=38, look=39)
    return BlipConfig(vision, text, sharing, PROJECTION, QUEUE, MOMENTUM)


def make_texts(number: int, seed: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 7, (number,), generator=generator).tolist()
    said = [torch.randint(WORDS.start, WORDS.stop, (length,), generator=generator).tolist() for length in lengths]
    return [[CLS, *words, SEP] for words in said]


def make_batch(seed: int, ids: list[int] | None = None, alpha: float = 0.4, size: int = SIZE) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    batch = {
        "images": torch.randn(size, 3, 12, 12, dtype=torch.float64, generator=generator),
        "texts": make_texts(size, seed),
        "uniforms": torch.rand(2, size, dtype=torch.float64, generator=generator),
        "alpha": alpha,
    }
    return batch if ids is None else batch | {"ids": torch.tensor(ids)}


def ours(batch: dict[str, Any]) -> PretrainingBatch | RetrievalBatch:
    parts = batch | {"texts": Texts.of(batch["texts"])}
    return RetrievalBatch(**parts) if "ids" in batch else PretrainingBatch(**parts)


def begin_as(naive: Naive, objective: nn.Module, *, retrieval: bool = False) -> nn.Module:
    begun = load(objective.double(), state_of(naive, retrieval=retrieval), "the naive model")
    assert begun.random == []
    return objective


def optimiser(model: nn.Module) -> torch.optim.Optimizer:
    """AdamW; its epsilon is great enough not to make steps of gradients that are 0 but for rounding (keys' biases)."""
    trained = [value for value in model.parameters() if value.requires_grad]
    return torch.optim.AdamW(trained, lr=1e-3, eps=1e-6, weight_decay=0.05)


def assert_close(found: Tensor, wanted: Tensor, name: str) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-8, msg=lambda told: f"{name}: {told}")


def assert_same_gradients(objective: nn.Module, naive: Naive) -> None:
    wanted = gradients_of(naive)
    for name, value in objective.named_parameters():
        if value.requires_grad:
            assert value.grad is not None, name
            assert_close(value.grad, wanted[name], name)


def assert_same_state(objective: nn.Module, naive: Naive, *, retrieval: bool = False) -> None:
    wanted = state_of(naive, retrieval=retrieval)
    found = {name: value for name, value in objective.state_dict().items() if not name.endswith("position_ids")}
    for name, value in found.items():
        assert_close(value, wanted[name], name)
