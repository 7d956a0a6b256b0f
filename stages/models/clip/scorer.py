"""CLIP's cosine between an image and a text, with any model that open_clip loads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from stages.models.clip.towers import ImageTower, TextTower
from stages.models.finite import unit
from stages.models.middle import safe


class ClipScorer:
    """Cosines of texts with images; a `stages.models.scoring.Scorer`."""

    def __init__(
        self,
        model: Any,
        transform: Callable[[Image.Image], Tensor],
        tokenize: Callable[[list[str]], Tensor],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._encode_image = ImageTower(model.visual) if ImageTower.fits(model.visual) else model.encode_image
        self._encode_text = TextTower(model) if TextTower.fits(model) else self._encode_text_as_open_clip
        self._model = model
        self._tokenize = tokenize
        self._transform = safe(transform, getattr(model.visual, "preprocess_cfg", {}))
        self._device = device
        self._dtype = dtype

    def preprocess(self, image: Image.Image) -> Tensor:
        """An RGB image to pixels, (3, height, width), float32, as the model's own configuration says."""
        return self._transform(image)

    def prepare(self, text: str) -> str:
        """CLIP reads a text as it stands."""
        return text.strip()

    @torch.inference_mode()
    def score(self, pixels: Tensor, texts: Sequence[Sequence[str]]) -> list[list[float]]:
        """The cosine, in [-1, 1], of every text of every image. Equal texts of different images are encoded once."""
        distinct = {text: row for row, text in enumerate(dict.fromkeys(chain.from_iterable(texts)))}
        if not distinct:
            return [[] for _ in texts]
        cosines = (
            (self.embed_images(pixels) @ self.embed_texts(list(distinct)).T).clamp(-1, 1).tolist()
        )  # rounding goes a little beyond
        return [[row[distinct[text]] for text in said] for row, said in zip(cosines, texts, strict=True)]

    @torch.inference_mode()
    def embed_images(self, pixels: Tensor) -> Tensor:
        """Pixels, (images, 3, height, width), to embeddings of length 1, (images, width), float32."""
        return _unit(self._encode_image(pixels.to(self._device, self._dtype)))

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Prepared texts to embeddings of length 1, (texts, width), float32."""
        return _unit(self._encode_text(self._tokenize(list(texts))))

    def _encode_text_as_open_clip(self, ids: Tensor) -> Tensor:
        """For architectures that `TextTower` does not know."""
        embeddings: Tensor = self._model.encode_text(ids.to(self._device))
        return embeddings


def _unit(features: Tensor) -> Tensor:
    """Features in float32 and of length 1, whatever format they were computed in; NaN where they have no direction."""
    return unit(features.float())
