"""Every image against every text by their embeddings, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from stages.evaluate.benchmark import Benchmark
from stages.evaluate.ranking import Nearest, Ranks
from stages.models.qformer.model import similarities

BLOCK = (256, 1024)
"""Images and texts that are compared at once: 33 MB of cosines with 32 queries."""


@dataclass(frozen=True)
class Embeddings:
    """What images and texts are compared by, on one device."""

    images: Tensor
    """(images, queries, width), float32, of length 1; one query where a model has one embedding per image."""
    texts: Tensor
    """(texts, width), float32, of length 1."""


class BothWays(NamedTuple):
    """Of images among texts, and of texts among images."""

    image_to_text: Ranks
    text_to_image: Ranks


class Candidates(NamedTuple):
    """The nearest texts of every image, and the nearest images of every text."""

    image_to_text: Nearest
    text_to_image: Nearest

    def pairs(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Both ways the numbers of images and of texts; int64, one of them (queries, k), the other (queries, 1)."""
        texts, images = self.image_to_text.answers, self.text_to_image.answers
        return (_queries(texts), texts), (images, _queries(images))


def find_candidates(
    embeddings: Embeddings, benchmark: Benchmark, top_k: int, block: tuple[int, int] = BLOCK
) -> tuple[BothWays, Candidates]:
    """Compare all images with all texts, and keep the nearest.

    Args:
        embeddings: of the benchmark's images and texts, by their numbers.
        benchmark: which belong together.
        top_k: candidates of every image, and of every text.
        block: images and texts at once.
    """
    images, texts, device = len(embeddings.images), len(embeddings.texts), embeddings.texts.device
    nearest = Candidates(Nearest(images, min(top_k, texts), device), Nearest(texts, min(top_k, images), device))
    return compare(embeddings, benchmark, nearest, block), nearest


def compare(
    embeddings: Embeddings,
    benchmark: Benchmark,
    nearest: Candidates | None = None,
    block: tuple[int, int] = BLOCK,
) -> BothWays:
    """Compare all images with all texts; `nearest`, if given, is filled on the way.

    Memory is that of the embeddings, of `nearest`, (images + texts) x top_k, and of one block. It grows with the images
    and with the texts, never with their product.
    """
    images, texts, device = len(embeddings.images), len(embeddings.texts), embeddings.texts.device
    ranks = BothWays(Ranks(images, device), Ranks(texts, device))
    for rows, columns, scores, right in _blocks(embeddings, benchmark, block):
        ranks.image_to_text.find(rows, scores, right)
        ranks.text_to_image.find(columns, scores.T, right.T)
        if nearest:
            nearest.image_to_text.update(rows, scores, columns.start)
            nearest.text_to_image.update(columns, scores.T, rows.start)
    for rows, columns, scores, right in _blocks(embeddings, benchmark, block):
        ranks.image_to_text.count(rows, scores, right)
        ranks.text_to_image.count(columns, scores.T, right.T)
    return ranks


def _blocks(
    embeddings: Embeddings, benchmark: Benchmark, block: tuple[int, int]
) -> Iterator[tuple[slice, slice, Tensor, Tensor]]:
    """Some images and some texts at a time, their similarities and whether they belong together."""
    device = embeddings.texts.device
    for rows in _slices(len(embeddings.images), block[0]):
        for columns in _slices(len(embeddings.texts), block[1]):
            right = benchmark.is_right(_numbers(rows, device)[:, None], _numbers(columns, device)[None])
            yield rows, columns, similarities(embeddings.images[rows], embeddings.texts[columns]), right


def _queries(answers: Tensor) -> Tensor:
    return torch.arange(len(answers), device=answers.device)[:, None]


def _slices(total: int, size: int) -> Iterator[slice]:
    return (slice(first, min(first + size, total)) for first in range(0, total, size))


def _numbers(part: slice, device: torch.device) -> Tensor:
    return torch.arange(part.start, part.stop, device=device)
