"""How well a captioner says what people said of images that it was not trained on."""

from __future__ import annotations

from collections.abc import Callable

import torch

from stages.contract import Dtype
from stages.models.blip.trainable.both import CaptioningRetrieval
from stages.models.blip.trainable.captioning import Captioning
from stages.models.blip.trainable.reading import Look
from stages.models.blip.trainable.texts import Texts
from stages.models.device import autocast
from stages.training.holdout import CHUNK, HeldOut


@torch.no_grad()
def caption_loss(
    model: Captioning | CaptioningRetrieval,
    held_out: HeldOut,
    spoken: Callable[[list[str]], Texts],
    dtype: Dtype,
    device: torch.device,
) -> float:
    """The mean over all tokens of the images' best captions; the model stays in the mode that it was in."""
    training = model.training
    model.eval()
    total, tokens = 0.0, 0
    for first in range(0, len(held_out.captions), CHUNK):
        texts = spoken(list(held_out.captions[first : first + CHUNK])).to(device)
        images = held_out.images[first : first + CHUNK].to(device)
        with autocast(dtype, device):
            embeds = images if images.ndim == 3 else model.visual_encoder(images)
            look = Look(model.text_decoder.bert.look(embeds), [1] * len(texts.lengths))
            losses = model.text_decoder(texts, [look], model.prompt).losses
        total, tokens = total + losses.double().sum().item(), tokens + len(losses)
    model.train(training)
    return total / tokens
