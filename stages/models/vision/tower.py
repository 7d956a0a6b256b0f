"""A frozen image tower: the tokens of its last block but one, which is what BLIP-2's Q-Former reads.

BLIP-2 leaves the last block out and reports slightly better results (Li et al. 2023, arXiv 2301.12597, section 3.4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from stages.errors import UserError
from stages.models.family import ModelName
from stages.models.vision.kind import NO_TOKENS


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
        self.depth = _depth(visual)
        """Blocks."""
        self.penultimate = self.depth - 2
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
            (batch, tokens, width): what the tower has beside its patches first (a class token, registers; SigLIP has
            none), without a final norm, in the tower's number format.
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
        beside = found.get("image_intermediates_prefix", [])
        return torch.cat([*beside, found["image_intermediates"][0]], dim=1)

    @torch.no_grad()
    def pool(self, features: Tensor) -> Tensor:
        """What a mean over the features says by itself: put through the tower's own last norm and projection.

        The last block is left out here too. The mean stands in the place of every token beside the patches, and of one
        patch, so it is what the tower pools, whether that is its class token or the mean of its patches.

        Args:
            features: (batch, tokens, width), as `forward` gives them.

        Returns:
            (batch, embedding width), comparable with CLIP's text embeddings.
        """
        is_timm = hasattr(self.visual, "trunk")
        beside = self.visual.trunk.num_prefix_tokens if is_timm else 1
        rows = features.mean(dim=1, keepdim=True).expand(-1, beside + 1, -1)
        if is_timm:
            pooled: Tensor = self.visual.head(self.visual.trunk.forward_head(self.visual.trunk.norm(rows)))
            return pooled
        pooled, _ = self.visual._pool(rows)  # noqa: SLF001 - open_clip's own last steps
        return pooled if self.visual.proj is None else pooled @ self.visual.proj


def check_transformer(name: ModelName, visual: Any) -> None:
    """See that a tower cuts images into patches and passes these through blocks of one width, as a ViT does.

    Args:
        name: the model's, for the message.
        visual: open_clip's own tower, or one of timm's.

    Raises:
        UserError: it does not, like a ConvNeXt or a Swin.
    """
    own = getattr(visual, "trunk", visual)
    if not (hasattr(own, "transformer") or (hasattr(own, "patch_embed") and hasattr(own, "blocks"))):
        raise UserError(
            f"{name.key}: the image tower of '{name.model}' is a {type(own).__name__}, {NO_TOKENS}; name a transformer "
            "such as 'ViT-L-14-quickgelu' with pretrained: openai"
        )


def _depth(visual: Any) -> int:
    """Blocks of open_clip's own tower, or of one of timm's."""
    return len(visual.transformer.resblocks if hasattr(visual, "transformer") else visual.trunk.blocks)
