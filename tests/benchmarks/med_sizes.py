"""Sizes of BLIP as `med.py` measures it, and what it is fed."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
from torch import Tensor

from stages.models.blip.trainable.config import BlipConfig, TextConfig, VisionConfig
from stages.models.blip.trainable.texts import Texts

PADDED, SHORTEST, LONGEST = 30, 8, 16
CLS, SEP, WORDS = 101, 102, (1000, 30000)
TOWER_BASE, TOWER_LARGE = VisionConfig(), VisionConfig(1024, layers=24, heads=16)
SIZES = {
    "tiny": BlipConfig(VisionConfig(96, 2, 4, image_size=64), TextConfig(width=96, layers=2, heads=4), queue=960),
    "base": BlipConfig(TOWER_BASE),
    "large": BlipConfig(TOWER_LARGE),
}
"""`base` is ViT-B/16 and `large` ViT-L/16, both with BERT-base's text stacks, as in the paper."""


@dataclass(frozen=True)
class Pairs:
    """Images and their captions."""

    images: Tensor
    """(batch, 3, image size, image size)."""
    captions: list[list[int]]
    """[CLS] words [SEP], 8 to 16 tokens."""

    @property
    def texts(self) -> Texts:
        """Without padding."""
        return Texts.of(self.captions).to(self.images.device)

    @property
    def padded(self) -> tuple[Tensor, Tensor]:
        """Padded to 30 tokens: numbers and the mask, both (batch, 30), int64."""
        ids = torch.tensor([[*tokens, *[0] * (PADDED - len(tokens))] for tokens in self.captions])
        ids = ids.to(self.images.device)
        return ids, (ids != 0).long()


def make_pairs(config: BlipConfig, count: int, device: torch.device) -> Pairs:
    """Drawn; the same for the same count."""
    random = torch.Generator().manual_seed(0)
    side = config.vision.image_size
    images = torch.randn(count, 3, side, side, generator=random)
    lengths = torch.randint(SHORTEST, LONGEST + 1, (count,), generator=random).tolist()
    words = [torch.randint(*WORDS, (length - 2,), generator=random).tolist() for length in lengths]
    return Pairs(images.to(device), [[CLS, *said, SEP] for said in words])
