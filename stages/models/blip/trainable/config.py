"""Sizes and settings of BLIP as it is trained (Li et al. 2022, arXiv 2201.12086); the defaults are BLIP-base's."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, Literal

from stages.errors import UserError

Sharing = Literal["all but self-attention", "all", "all but cross-attention", "none"]
"""What the text encoder and the text decoder have in common (the paper's table 3)."""

TEMPERATURE: Final = 0.07
TEMPERATURE_BOUNDS: Final = (0.001, 0.5)


@dataclass(frozen=True)
class VisionConfig:
    """The image tower."""

    width: int = 768
    layers: int = 12
    heads: int = 12
    patch: int = 16
    image_size: int = 224
    """Height and width in pixels."""
    inner: int | None = None
    """How wide the feed-forwards are inside; None for four times the width."""
    epsilon: float = 1e-6
    """Of its layer norms."""
    drop_path: float = 0.0
    """Stochastic depth of the last block; it grows linearly from 0 at the first."""
    checkpointed: int = 0
    """How many of the last blocks compute their activations a second time rather than keep them."""

    def resized(self, size: int, key: str) -> VisionConfig:
        """The same for pictures of another size.

        Args:
            size: height and width in pixels.
            key: what names it in the manifest, for messages.

        Raises:
            UserError: the patches do not divide it.
        """
        if size % self.patch:
            raise UserError(f"{key}: {size} is no multiple of the tower's patches of {self.patch} pixels; change it")
        return replace(self, image_size=size)

    @property
    def feed_forward(self) -> int:
        """The same as a number."""
        return self.inner or 4 * self.width

    @property
    def patches(self) -> int:
        """How many there are."""
        return (self.image_size // self.patch) ** 2


@dataclass(frozen=True)
class TextConfig:
    """A text stack of BERT's shape."""

    vocabulary: int = 30524
    width: int = 768
    layers: int = 12
    heads: int = 12
    inner: int | None = None
    """How wide the feed-forwards are inside; None for four times the width."""
    positions: int = 512
    dropout: float = 0.1
    start: int = 30522
    """[DEC], which a text begins with when it is to be written."""
    look: int = 30523
    """[ENC], which a text begins with when it is to be read together with an image."""

    @property
    def feed_forward(self) -> int:
        """The same as a number."""
        return self.inner or 4 * self.width


@dataclass(frozen=True)
class BlipConfig:
    """All of it."""

    vision: VisionConfig = field(default_factory=VisionConfig)
    text: TextConfig = field(default_factory=TextConfig)
    sharing: Sharing = "all but self-attention"
    projection: int = 256
    """Width of the embeddings that are compared."""
    queue: int = 57_600
    """Earlier embeddings of either kind that are compared with; the whole batch of all workers must divide it."""
    momentum: float = 0.995
    """The share of themselves that the slow copies keep in a step."""
