"""What BLIP's weights are of: sizes, and what no weight shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Any, Final

from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

from stages.models.blip.names import WORDS, State

HEAD_WIDTH: Final = 64
"""Of every published BLIP's attention, in both halves."""
PROJECTION: Final = 256
"""Width of the embeddings that BLIP compares; what a model without them writes down."""
LABEL_SMOOTHING: Final = 0.1
"""With which BLIP learns to say words (models/med.py)."""


@dataclass(frozen=True)
class ImageTower:
    """The image half; the defaults are those of every published `.pth` file."""

    width: int
    layers: int
    heads: int
    patch: int
    image_size: int
    """Height and width in pixels."""
    inner: int
    """How wide the feed-forwards are inside."""
    epsilon: float = 1e-6
    """Of its layer norms."""
    mean: tuple[float, ...] = OPENAI_DATASET_MEAN
    """What is taken from the red, green and blue of an image, each in [0, 1]."""
    std: tuple[float, ...] = OPENAI_DATASET_STD
    """What they are divided by then."""


@dataclass(frozen=True)
class TextStack:
    """The text half; an encoder and a decoder are alike."""

    width: int
    layers: int
    heads: int
    inner: int
    """How wide the feed-forwards are inside."""
    vocabulary: int
    positions: int
    source_width: int
    """Of what the decoder looks at, or, where there is none, the encoder: an image's tokens, or a question's."""
    dropout: float = 0.1
    """In training. The folders of the hub say 0, with which none of them was trained."""
    epsilon: float = 1e-12
    """Of its layer norms."""


@dataclass(frozen=True)
class Description:
    """All of it."""

    vision: ImageTower
    text: TextStack
    projection: int = PROJECTION
    """Width of the embeddings that are compared."""


Untold = Mapping[str, Mapping[str, Any]]
"""What no weight shows: fields of `ImageTower` under `vision`, of `TextStack` under `text`; sizes may be there too."""


def describe(state: State, untold: Untold) -> Description:
    """What weights under published names are of.

    Args:
        state: an image tower and one text stack at least.
        untold: what they do not show; what is left out there is as in the published files.

    Raises:
        KeyError: a weight is missing.
        ValueError: its images are not square, or nothing says how many heads it has.
    """
    stack = "text_decoder.bert." if f"text_decoder.bert.{WORDS}" in state else "text_encoder."
    patches, positions = state["visual_encoder.patch_embed.proj.weight"], state["visual_encoder.pos_embed"]
    vision = {
        "width": patches.shape[0],
        "layers": _count(state, "visual_encoder.blocks."),
        "patch": patches.shape[-1],
        "image_size": _side(positions.shape[1] - 1) * patches.shape[-1],
        "inner": len(state["visual_encoder.blocks.0.mlp.fc1.weight"]),
    }
    words, layer = state[stack + WORDS], f"{stack}encoder.layer."
    text = {
        "width": words.shape[1],
        "layers": _count(state, layer),
        "inner": len(state[f"{layer}0.intermediate.dense.weight"]),
        "vocabulary": len(words),
        "positions": len(state[f"{stack}embeddings.position_embeddings.weight"]),
        "source_width": state[f"{layer}0.crossattention.self.key.weight"].shape[1],
    }
    projection = len(state["vision_proj.weight"]) if "vision_proj.weight" in state else PROJECTION
    return Description(
        ImageTower(**_whole(vision, untold.get("vision", {}))),
        TextStack(**_whole(text, untold.get("text", {}))),
        projection,
    )


def _side(patches: int) -> int:
    side = isqrt(patches)
    if side * side != patches:
        raise ValueError(f"its images have {patches} patches, so they are not square")
    return side


def _whole(shown: Mapping[str, int], untold: Mapping[str, Any]) -> dict[str, Any]:
    if "heads" not in untold and shown["width"] % HEAD_WIDTH:
        raise ValueError(f"nothing says how many heads its width of {shown['width']} has")
    return {"heads": shown["width"] // HEAD_WIDTH, **untold, **shown}


def _count(state: State, before: str) -> int:
    return 1 + max(int(name.removeprefix(before).split(".", 1)[0]) for name in state if name.startswith(before))
