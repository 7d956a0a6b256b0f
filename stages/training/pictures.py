"""The pictures that a BLIP is trained on: pixels, or the features of its tower where that is frozen."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.models.blip.trainable.vision import VisionTransformer
from stages.models.vision.tower import View
from stages.training.augment import Augmentation, as_augmented, as_evaluated
from stages.training.corpus import Corpus
from stages.training.features import Encoder, KeptFeatures
from stages.training.feed import Drawn
from stages.training.reading import Prepare, Reader

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pictures:
    """What becomes of an image before it is learnt from."""

    reader: Reader
    prepare: Prepare
    """As it is trained on."""
    evaluated: Prepare
    """As it is measured on."""
    encoder: Encoder | None
    """Of a tower that is frozen."""
    kept: KeptFeatures | None
    """Where they fit into memory."""
    device: torch.device

    def of(self, drawn: Drawn) -> Tensor:
        """A part's pixels, or features, on the device."""
        if drawn.pixels is None:
            assert self.kept is not None
            return self.kept.of(drawn.turns)
        if self.encoder is not None:
            return self.encoder.encode(drawn.pixels)
        return drawn.pixels.to(self.device, non_blocking=True)


def pictures(view: View, how: Augmentation | None, seed: int, readers: int, device: torch.device) -> Pictures:
    """Pictures for a tower that is trained.

    Args:
        view: how the tower wants them.
        how: how they are changed; None for not at all.
        seed: what the changes hang on.
        readers: threads that read them.
        device: where the model is.
    """
    evaluated = as_evaluated(view)
    prepare = as_augmented(view, seed, how) if how else evaluated
    return Pictures(Reader(readers, pinned=device.type == "cuda"), prepare, evaluated, None, None, device)


def frozen_pictures(  # noqa: PLR0913, PLR0917 - what they are made of
    view: View, tower: VisionTransformer, corpus: Corpus, cache: float, readers: int, device: torch.device
) -> Pictures:
    """Pictures for a tower that stays as it is: their features, which are kept if they fit into `cache` GiB."""
    tower = tower.to(device).requires_grad_(requires_grad=False)
    reader, evaluated = Reader(readers, pinned=device.type == "cuda"), as_evaluated(view)
    encoder = Encoder(torch.no_grad()(tower.forward), view, device, reader)
    fits = encoder.feature_bytes * corpus.size.training <= cache * 2**30
    logger.info("features of the frozen image tower are %s", "kept in memory" if fits else "computed for every batch")
    return Pictures(reader, evaluated, evaluated, encoder, KeptFeatures(encoder, corpus) if fits else None, device)
