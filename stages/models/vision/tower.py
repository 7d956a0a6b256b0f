"""A frozen image tower: the tokens of CLIP's last block but one, which is what BLIP-2's Q-Former reads.

BLIP-2 leaves the last block out and reports slightly better results (Li et al. 2023, arXiv 2301.12597, section 3.4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import open_clip
import torch
from PIL import Image
from torch import Tensor, nn

from stages.contract import Dtype
from stages.models.clip.loading import ClipName, image_size, locate
from stages.models.device import torch_dtype
from stages.models.loading import LOADING_ERRORS, quiet
from stages.models.middle import safe
from stages.models.parts import check_pictures

_PRECISIONS: dict[Dtype, str] = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
_KIND = "a CLIP model of open_clip"


@dataclass(frozen=True)
class View:
    """How the tower wants its images."""

    preprocess: Callable[[Image.Image], Tensor]
    """An RGB image to (3, height, width), float32, as in evaluation."""
    size: tuple[int, int]
    """Height and width in pixels."""
    mean: tuple[float, ...]
    std: tuple[float, ...]


class VisionTower(nn.Module):
    """Pixels to tokens, in evaluation mode for ever and without gradients."""

    def __init__(self, visual: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.visual: Any = visual
        self.dtype = dtype
        self.penultimate = _depth(visual) - 2
        self.requires_grad_(requires_grad=False).train()

    def train(self, mode: bool = True) -> VisionTower:  # noqa: ARG002, FBT001, FBT002 - torch's signature
        """Stay in evaluation mode, whatever the model around it does."""
        super().train(mode=False)
        return self

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> Tensor:
        """Encode images.

        Args:
            pixels: (batch, 3, height, width), normalised.

        Returns:
            (batch, 1 + patches, width): the class token first, without a final norm, in the tower's number format.
        """
        found = self.visual.forward_intermediates(
            pixels.to(self.dtype),
            indices=[self.penultimate],
            stop_early=True,
            normalize_intermediates=False,
            intermediates_only=True,
            output_fmt="NLC",
            output_extra_tokens=True,
        )
        return torch.cat([found["image_intermediates_prefix"][0], found["image_intermediates"][0]], dim=1)

    @torch.no_grad()
    def pool(self, features: Tensor) -> Tensor:
        """What a mean over the features says by itself: put through the tower's own last norm and projection.

        The last block is left out here too. The mean stands twice in the sequence, so it is what the tower pools,
        whether that is its class token or the mean of its patches.

        Args:
            features: (batch, 1 + patches, width), as `forward` gives them.

        Returns:
            (batch, embedding width), comparable with CLIP's text embeddings.
        """
        rows = features.mean(dim=1, keepdim=True).expand(-1, 2, -1)
        if hasattr(self.visual, "trunk"):  # one of timm's
            pooled: Tensor = self.visual.head(self.visual.trunk.forward_head(self.visual.trunk.norm(rows)))
            return pooled
        pooled, _ = self.visual._pool(rows)  # noqa: SLF001 - open_clip's own last steps
        return pooled if self.visual.proj is None else pooled @ self.visual.proj


def _depth(visual: Any) -> int:
    """Blocks of open_clip's own tower, or of one of timm's."""
    return len(visual.transformer.resblocks if hasattr(visual, "transformer") else visual.trunk.blocks)


def load_vision_tower(name: ClipName, dtype: Dtype, device: torch.device) -> tuple[VisionTower, View]:
    """Load the image tower of a CLIP model.

    Raises:
        UserError: there is no such model, it is broken, or it is no transformer.
    """
    source, location = locate(name)
    try:
        with quiet():
            clip, preprocess = open_clip.create_model_from_pretrained(
                location, name.pretrained, precision=_PRECISIONS[dtype], device=device
            )
        tower = VisionTower(clip.visual, torch_dtype(dtype))
    except (*LOADING_ERRORS, AttributeError) as error:  # a convolutional tower has no blocks
        raise source.error(_KIND, error) from None
    wanted, size = clip.visual.preprocess_cfg, image_size(clip.visual)
    check_pictures(source, preprocess, size)
    return tower, View(safe(preprocess, wanted), size, tuple(wanted["mean"]), tuple(wanted["std"]))
