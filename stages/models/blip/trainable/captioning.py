"""BLIP's fine-tuning for captions: LM behind a prompt (BLIP's models/blip.py)."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from stages.models.blip.trainable.config import BlipConfig
from stages.models.blip.trainable.decoder import TextDecoder
from stages.models.blip.trainable.reading import Look
from stages.models.blip.trainable.texts import Texts
from stages.models.blip.trainable.vision import VisionTransformer


class CaptioningBatch(NamedTuple):
    """A worker's part of one step."""

    images: Tensor
    """(batch, 3, image size, image size), normalised; or a frozen tower's tokens, as in pretraining."""
    texts: Texts
    """Of each image one: [CLS], the prompt, the caption, [SEP]."""


class CaptioningLosses(NamedTuple):
    """Scalars."""

    loss: Tensor
    lm: Tensor
    """The same."""


class Captioning(nn.Module):
    """The image tower and the text decoder; names as in the published captioners."""

    def __init__(self, config: BlipConfig, prompt: int) -> None:
        """Build it.

        Args:
            config: sizes; queue, momentum and sharing have no meaning here.
            prompt: tokens of the prompt, with [CLS] and without [SEP]; they are not learnt.
        """
        super().__init__()
        self.visual_encoder = VisionTransformer(config.vision)
        self.text_decoder = TextDecoder(config.text, config.vision.width)
        self.prompt = prompt

    def forward(self, batch: CaptioningBatch) -> CaptioningLosses:
        """The loss of a worker's part: the mean over its predicted tokens."""
        embeds = batch.images if batch.images.ndim == 3 else self.visual_encoder(batch.images)
        look = Look(self.text_decoder.bert.look(embeds), [1] * len(batch.texts.lengths))
        lm = self.text_decoder(batch.texts, [look], self.prompt).mean
        return CaptioningLosses(lm, lm)
