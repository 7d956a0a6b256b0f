"""Both encoders, their slow copies, and the queue of earlier embeddings: what pretraining and retrieval have in common.

Slow copies follow the trained weights as an exponential moving average, and the queue holds what they made of earlier
batches (He et al. 2020, arXiv 1911.05722; Li et al. 2021, arXiv 2107.07651). As in BLIP, dropout and stochastic depth
are at work in the slow copies too while the whole is in training mode.
"""

from __future__ import annotations

from copy import deepcopy
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from stages.models.blip.trainable.config import TEMPERATURE, TEMPERATURE_BOUNDS, BlipConfig
from stages.models.blip.trainable.losses import contrast, unit
from stages.models.blip.trainable.stack import TextStack
from stages.models.blip.trainable.texts import Texts
from stages.models.blip.trainable.vision import VisionTransformer
from stages.training.gather import gather

Part = TypeVar("Part", bound=nn.Module)
FOLLOWING = ("visual_encoder", "vision_proj", "text_encoder", "text_proj")
"""What has a slow copy; its name ends in `_m`."""


class Compared(NamedTuple):
    """Images and texts of a batch, and how alike they are."""

    loss: Tensor
    """ITC."""
    embeds: Tensor
    """(batch, image tokens, vision width)."""
    images: Tensor
    """(batch, projection), of length 1."""
    texts: Tensor
    """(batch, projection), of length 1."""
    image_to_text: Tensor
    """(batch, batch + queue): similarities over the temperature; to the slow copies' embeddings."""
    text_to_image: Tensor
    """(batch, batch + queue)."""
    places: Tensor
    """(all,), int64: where everybody's embeddings, in the order of the ranks, now stand in the queue."""


class Slow(NamedTuple):
    """Embeddings by the slow copies, (batch, projection), of length 1."""

    images: Tensor
    texts: Tensor


class Contrast(nn.Module):
    """The parts; a subclass says which negatives are drawn, and what else is learnt."""

    image_queue: Tensor
    text_queue: Tensor

    def __init__(self, config: BlipConfig, pointer: str) -> None:
        """Build the parts.

        Args:
            config: sizes.
            pointer: the published name of the place in the queue that is filled next.
        """
        super().__init__()
        vision, text = config.vision, config.text
        self.momentum = config.momentum
        self.look = text.look
        self.visual_encoder = VisionTransformer(vision)
        self.text_encoder = TextStack(text, vision.width)
        self.vision_proj = nn.Linear(vision.width, config.projection)
        self.text_proj = nn.Linear(text.width, config.projection)
        self.itm_head = nn.Linear(text.width, 2)
        self.visual_encoder_m = slow_copy(self.visual_encoder)
        self.vision_proj_m = slow_copy(self.vision_proj)
        self.text_encoder_m = slow_copy(self.text_encoder)
        self.text_proj_m = slow_copy(self.text_proj)
        for name in ("image_queue", "text_queue"):
            self.register_buffer(name, unit(torch.randn(config.queue, config.projection)).T.contiguous())
        self.register_buffer(pointer, torch.zeros(1, dtype=torch.int64))
        self._pointer = pointer
        self.temp = nn.Parameter(torch.tensor(TEMPERATURE))

    def compare(self, images: Tensor, texts: Texts, hard: Tensor, alpha: float) -> Compared:
        """Clamp the temperature, let the slow copies follow, compute ITC, then put their embeddings into the queue.

        Args:
            images: as in the batches.
            texts: as in the batches.
            hard: (batch, batch + queue), see `losses.contrast`.
            alpha: see `losses.contrast`.
        """
        with torch.no_grad():
            self.temp.clamp_(*TEMPERATURE_BOUNDS)
        embeds = self.see(images)
        own = self.embed_images(embeds), self.embed_texts(texts)
        slow = self._follow(images, texts)
        with torch.autocast(embeds.device.type, enabled=False):  # two digits of a cosine are too few
            all_texts, all_images = (
                torch.cat([one.T, queue], dim=1)
                for one, queue in ((slow.texts, self.text_queue), (slow.images, self.image_queue))
            )
            ways = own[0] @ all_texts / self.temp, own[1] @ all_images / self.temp
            with torch.no_grad():
                slow_ways = slow.images @ all_texts / self.temp, slow.texts @ all_images / self.temp
            losses = [contrast(logits, other, hard, alpha) for logits, other in zip(ways, slow_ways, strict=True)]
        return Compared((losses[0] + losses[1]) / 2, embeds, *own, *ways, self._enqueue(slow))

    def see(self, images: Tensor) -> Tensor:
        """Pixels to tokens; what a frozen tower has made of them before stays."""
        return images if images.ndim == 3 else self.visual_encoder(images)

    def embed_images(self, embeds: Tensor) -> Tensor:
        """Image tokens, as `see` gives them, to what is compared: (images, projection), of length 1."""
        return unit(self.vision_proj(embeds[:, 0]))

    def embed_texts(self, texts: Texts) -> Tensor:
        """Texts by themselves, which begin with [CLS], to the same: (texts, projection)."""
        return unit(self.text_proj(self.text_encoder(texts, first=True)))

    @torch.no_grad()
    def _follow(self, images: Tensor, texts: Texts) -> Slow:
        """Move the slow copies, then embed with them."""
        for name in FOLLOWING:
            slow, fast = (list[Tensor](self.get_submodule(each).parameters()) for each in (f"{name}_m", name))
            torch._foreach_lerp_(slow, fast, 1.0 - self.momentum)
        first = images[:, 0] if images.ndim == 3 else self.visual_encoder_m.first(images)
        return Slow(unit(self.vision_proj_m(first)), unit(self.text_proj_m(self.text_encoder_m(texts, first=True))))

    @torch.no_grad()
    def _enqueue(self, slow: Slow) -> Tensor:
        """Put everybody's embeddings in the place of the oldest ones; returns their places, (all,), int64."""
        pointer = self.get_buffer(self._pointer)
        images, texts = gather(slow.images), gather(slow.texts)
        size = self.image_queue.shape[1]
        assert len(images) <= size, "the queue is shorter than a batch"
        places = (pointer + torch.arange(len(images), device=pointer.device)) % size
        self.image_queue.index_copy_(1, places, images.T.to(self.image_queue))
        self.text_queue.index_copy_(1, places, texts.T.to(self.text_queue))
        pointer.add_(len(images)).remainder_(size)
        return places


def slow_copy(part: Part) -> Part:
    """A copy that is not trained."""
    copy = deepcopy(part)
    copy.requires_grad_(requires_grad=False)
    return copy
