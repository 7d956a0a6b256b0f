"""What BLIP's pretraining step has to multiply, and how fast this machine does that."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import linear

from stages.models.blip.trainable.config import BlipConfig

TRAINED, FROZEN_INPUT = 3.0, 2.0
"""A product with gradients: forward, that of the weights, and that of what came in, where something is behind it."""


def vision_flop(config: BlipConfig, images: int, *, frozen: bool) -> float:
    """Of the image tower in one step, its slow copy included; two for every multiply-add.

    The slow copy's last block has to give the class token only. A frozen tower goes forward once and has no slow copy.
    """
    vision = config.vision
    width, tokens = vision.width, vision.patches + 1
    patches = vision.patches * 3 * vision.patch**2 * width
    row = 2 * width * vision.feed_forward + 4 * width**2 + 2 * tokens * width
    blocks = vision.layers * tokens * row
    if frozen:
        return 2.0 * images * (patches + blocks)
    slow = patches + (vision.layers - 1) * tokens * row + tokens * 2 * width**2 + row
    return 2.0 * images * (FROZEN_INPUT * patches + TRAINED * blocks + slow)


def text_flop(config: BlipConfig, lengths: Sequence[int], *, frozen: bool) -> float:
    """Of all passes over texts of these lengths; only real tokens, and only rows that are asked for.

    ITC reads every text once, and once with the slow copy; ITM reads three texts for each (wrong ones are as long as
    right ones on average), LM one. Keys and values of an image are the same for all that look at it.
    """
    text, width = config.text, config.text.width
    images, tokens = len(lengths), config.vision.patches + 1
    shown = text.layers * images * tokens * 2 * config.vision.width * width
    alone = _pass(config, lengths, looks=False, first=True)
    itm = 3 * _pass(config, lengths, looks=True, first=True)
    lm = _pass(config, lengths, looks=True, first=False)
    words = (sum(lengths) - images) * width * (width + text.vocabulary)
    compared = images * (images + config.queue) * config.projection * 2  # in both directions
    keys = (FROZEN_INPUT if frozen else TRAINED) * shown
    once = alone + compared  # by the slow copies
    return 2.0 * (TRAINED * (alone + itm + lm + words) + FROZEN_INPUT * compared + keys + once)


def _pass(config: BlipConfig, lengths: Sequence[int], *, looks: bool, first: bool) -> float:
    """Multiply-adds of one pass over texts; with `first` the last layer gives first tokens only."""
    text, width = config.text, config.text.width
    rows, texts, seen = sum(lengths), len(lengths), config.vision.patches + 1
    row = 2 * width**2 + 2 * width * text.feed_forward + looks * (2 * width**2 + 2 * seen * width)
    pairs = sum(length**2 if first else length * (length + 1) / 2 for length in lengths)
    whole = rows * (2 * width**2 + row) + pairs * 2 * width
    if not first:
        return text.layers * whole
    last = rows * 2 * width**2 + texts * row + rows * 2 * width
    return (text.layers - 1) * whole + last


def products(shape: tuple[int, int, int], like: Tensor) -> tuple[float, Callable[[], None]]:
    """Two for every multiply-add of a block's linear layers, and what does them.

    Args:
        shape: the block's width, how wide it is inside, and rows.
        like: of the device and the format to multiply in.
    """
    width, inner, rows = shape
    shapes = ((width, 3 * width), (width, width), (width, inner), (inner, width))
    made = [(torch.randn(rows, inputs), torch.randn(outputs, inputs)) for inputs, outputs in shapes]
    factors: list[tuple[Tensor, Tensor]] = [(x.to(like), weight.to(like)) for x, weight in made]

    @torch.inference_mode()
    def multiply() -> None:
        for x, weight in factors:
            linear(x, weight)

    return sum(2.0 * rows * weight.numel() for _, weight in factors), multiply
