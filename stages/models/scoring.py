"""Scores of image-text pairs: what CLIP ranking and ITM filtering have in common.

An image is encoded once, equal texts of an image are scored once, and an empty text has no score.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

import pyarrow as pa
from PIL import Image
from torch import Tensor

from stages.models.feed import batches
from stages.shards import Artifact


class Scorer(Protocol):
    """A model that says how well texts fit an image."""

    def preprocess(self, image: Image.Image) -> Tensor:
        """An RGB image to the model's pixels, (3, height, width), float32."""
        ...

    def prepare(self, text: str) -> str:
        """The text as the model is to read it."""
        ...

    def score(self, pixels: Tensor, texts: Sequence[Sequence[str]]) -> list[list[float]]:
        """Score the prepared texts of every image.

        Args:
            pixels: (images, 3, height, width), float32.
            texts: of each image its texts, distinct; there may be none.

        Returns:
            A score for each text, in the same nesting.
        """
        ...


def score_captions(
    scorer: Scorer, images: Artifact, captions: pa.Table, batch_size: int, without: Collection[str] = ()
) -> list[float | None]:
    """Score every row of a caption table against its image.

    Args:
        scorer: the model.
        images: the download shard that the captions belong to.
        captions: a caption table (`tables.CAPTIONS`).
        batch_size: images per forward pass.
        without: keys of downloaded images that have no captions, and should have none.

    Returns:
        One score per row, in the table's order; None where the text is empty.

    Raises:
        ValueError: the caption table and the downloaded images do not have the same keys.
    """
    texts = [scorer.prepare(text) if text.strip() else None for text in captions["caption"].to_pylist()]
    rows = _rows_by_key(captions)
    scores: list[float | None] = [None] * len(texts)
    for keys, pixels in batches(images, scorer.preprocess, batch_size, without):
        found = [_take(rows, key) for key in keys]
        distinct = [_distinct(texts[row] for row in of_image) for of_image in found]
        for of_image, said, values in zip(found, distinct, scorer.score(pixels, distinct), strict=True):
            by_text: dict[str | None, float] = dict(zip(said, values, strict=True))
            for row in of_image:
                scores[row] = by_text.get(texts[row])  # None, the empty text, is not among them
    if rows:
        raise ValueError(f"captions of {len(rows)} image(s) that were not downloaded, {next(iter(rows))} first")
    return scores


def _distinct(texts: Iterable[str | None]) -> list[str]:
    return list(dict.fromkeys(text for text in texts if text is not None))


def _rows_by_key(captions: pa.Table) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for row, key in enumerate(captions["key"].to_pylist()):
        rows.setdefault(key, []).append(row)
    return rows


def _take(rows: dict[str, list[int]], key: str) -> list[int]:
    if key not in rows:
        raise ValueError(f"image {key} was downloaded but has no row in the caption table")
    return rows.pop(key)
