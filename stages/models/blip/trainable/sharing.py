"""What the text encoder and the text decoder have in common."""

from __future__ import annotations

from stages.models.blip.trainable.config import Sharing
from stages.models.blip.trainable.stack import TextStack


def tie(encoder: TextStack, decoder: TextStack, sharing: Sharing) -> None:
    """Replace parts of the encoder by the decoder's own modules: what the decoder began with counts, as in BLIP."""
    if sharing == "none":
        return
    encoder.embeddings = decoder.embeddings
    for own, others in zip(encoder.encoder.layer, decoder.encoder.layer, strict=True):
        own.intermediate, own.output = others.intermediate, others.output
        if sharing != "all but self-attention":
            own.attention = others.attention
        if shares_sight(sharing):
            own.crossattention = others.crossattention


def shares_sight(sharing: Sharing) -> bool:
    """Whether both look at images with the same weights, so that keys and values of an image are the same."""
    return sharing in {"all", "all but self-attention"}
