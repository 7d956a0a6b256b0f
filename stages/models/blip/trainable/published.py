"""Sizes of a published BLIP as those of one that is trained, and back."""

from __future__ import annotations

from stages.models.blip.description import Description, ImageTower
from stages.models.blip.description import TextStack as TextSizes
from stages.models.blip.trainable.config import BlipConfig, TextConfig, VisionConfig


def vision_config(description: Description) -> VisionConfig:
    """The image tower's sizes."""
    vision = description.vision
    return VisionConfig(
        width=vision.width,
        layers=vision.layers,
        heads=vision.heads,
        patch=vision.patch,
        image_size=vision.image_size,
        inner=vision.inner,
        epsilon=vision.epsilon,
    )


def text_config(description: Description) -> TextConfig:
    """The text stacks' sizes."""
    text = description.text
    return TextConfig(
        vocabulary=text.vocabulary,
        width=text.width,
        layers=text.layers,
        heads=text.heads,
        inner=text.inner,
        positions=text.positions,
        dropout=text.dropout,
    )


def describe_trained(config: BlipConfig, source_width: int | None = None) -> Description:
    """What a trained model is, for those who write it down.

    Args:
        config: its sizes.
        source_width: of what its decoder looks at; None for images.
    """
    vision, text = config.vision, config.text
    tower = ImageTower(
        width=vision.width,
        layers=vision.layers,
        heads=vision.heads,
        patch=vision.patch,
        image_size=vision.image_size,
        inner=vision.feed_forward,
        epsilon=vision.epsilon,
    )
    stack = TextSizes(
        width=text.width,
        layers=text.layers,
        heads=text.heads,
        inner=text.feed_forward,
        vocabulary=text.vocabulary,
        positions=text.positions,
        source_width=source_width or vision.width,
        dropout=text.dropout,
    )
    return Description(tower, stack, config.projection)
