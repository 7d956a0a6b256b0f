"""Scores of image-text pairs by their embeddings in one space: each image is encoded once, and each text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from PIL import Image
from torch import Tensor

from stages.models.finite import unit


@dataclass(frozen=True)
class Encoders:
    """The two towers, whatever the library that loaded them."""

    preprocess: Callable[[Image.Image], Tensor]
    """An RGB image to pixels, (3, height, width), float32."""
    image: Callable[[Tensor], Tensor]
    """Pixels, (images, 3, height, width), float32 and on any device, to embeddings."""
    text: Callable[[list[str]], Tensor]
    """Texts to embeddings."""


class EmbeddingScorer:
    """Scores of texts with images by the cosine of their embeddings."""

    def __init__(self, encoders: Encoders, measure: Callable[[Tensor], Tensor] = lambda cosines: cosines) -> None:
        """Take the towers, and what a score is of a cosine: it itself, unless told otherwise."""
        self._encode_image = encoders.image
        self._encode_text = encoders.text
        self._preprocess = encoders.preprocess
        self._measure = measure

    def preprocess(self, image: Image.Image) -> Tensor:
        """An RGB image to pixels, (3, height, width), float32, as the model's own configuration says."""
        return self._preprocess(image)

    def prepare(self, text: str) -> str:
        """The model reads a text as it stands."""
        return text.strip()

    @torch.inference_mode()
    def score(self, pixels: Tensor, texts: Sequence[Sequence[str]]) -> list[list[float]]:
        """What `measure` makes of the cosine, in [-1, 1], of every text of every image.

        Equal texts of different images are encoded once.
        """
        distinct = {text: row for row, text in enumerate(dict.fromkeys(chain.from_iterable(texts)))}
        if not distinct:
            return [[] for _ in texts]
        cosines = self.embed_images(pixels) @ self.embed_texts(list(distinct)).T
        scores = self._measure(cosines.clamp(-1, 1)).tolist()  # rounding goes a little beyond
        return [[row[distinct[text]] for text in said] for row, said in zip(scores, texts, strict=True)]

    @torch.inference_mode()
    def embed_images(self, pixels: Tensor) -> Tensor:
        """Pixels, (images, 3, height, width), to embeddings of length 1, (images, width), float32."""
        return _unit(self._encode_image(pixels))

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Prepared texts to embeddings of length 1, (texts, width), float32."""
        return _unit(self._encode_text(list(texts)))


def _unit(features: Tensor) -> Tensor:
    """Features in float32 and of length 1, whatever format they were computed in; NaN where they have no direction."""
    return unit(features.float())


def sigmoid_of(scale: Tensor, bias: Tensor) -> Callable[[Tensor], Tensor]:
    """SigLIP's probability of a pair (Zhai et al. 2023, arXiv 2303.15343, equation 1).

    Args:
        scale: what cosines are multiplied by, float32, not its logarithm.
        bias: what is added, float32.
    """
    return lambda cosines: torch.sigmoid(scale * cosines + bias)
