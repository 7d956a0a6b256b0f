"""Scores of image-text pairs: what CLIP ranking and ITM filtering have in common.

An image is encoded once, equal texts of an image are scored once, and an empty text has no score. Nor has a row whose
image cannot be looked at, or whose score is not finite; its error says why.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa
from PIL import Image
from torch import Tensor

from stages.candidates import CANDIDATE, read_candidates
from stages.contract import Output, Shard
from stages.io.image_batches import batches
from stages.io.shards import Artifact, duplicates
from stages.models.finite import NumberFormat


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
            A score for each text, in the same nesting; not finite where the model's numbers are not.
        """
        ...


@dataclass(frozen=True)
class Scores:
    """Of the rows of a caption table, in its order."""

    values: list[float | None]
    """None where the text is empty, or where there is an error."""
    errors: list[str | None]
    """Why a row has no score, in words; None where it has one, or needs none."""


def score_shard(scorer: Scorer, shard: Shard, batch_size: int, numbers: NumberFormat, schema: pa.Schema) -> Output:
    """Score the captions of a shard, row for row.

    Args:
        scorer: the model.
        shard: with the roles `images` and `captions`, and perhaps `duplicates`.
        batch_size: images per forward pass.
        numbers: what the model computes in.
        schema: of the table that it becomes: key, writer, candidate, score, error.

    Raises:
        UserError: too many of the scores are not finite (`stages.models.finite`).
        ValueError: the caption table and the downloaded images do not have the same keys.
    """
    captions = read_candidates(shard, ["caption"])
    without = duplicates(shard).difference(captions["key"].unique().to_pylist())
    scores = score_captions(scorer, shard.one("images"), captions, batch_size, numbers, without=without)
    columns = [
        *(captions[name] for name in CANDIDATE),
        pa.array(scores.values, pa.float32()),
        pa.array(scores.errors, pa.string()),
    ]
    failed, unscored = len(scores.errors) - scores.errors.count(None), scores.values.count(None)
    counts = {"scored": len(scores.values) - unscored, "empty": unscored - failed, "failed": failed}
    return Output(pa.table(columns, schema=schema), counts=counts)


def score_captions(  # noqa: PLR0913, PLR0917 - what is scored, and how
    scorer: Scorer,
    images: Artifact,
    captions: pa.Table,
    batch_size: int,
    numbers: NumberFormat,
    without: Collection[str] = (),
) -> Scores:
    """Score every row of a caption table against its image.

    Args:
        scorer: the model.
        images: the download shard that the captions belong to.
        captions: a caption table (`tables.CAPTIONS`).
        batch_size: images per forward pass.
        numbers: what the model computes in.
        without: keys of downloaded images that have no captions, and should have none.

    Raises:
        UserError: too many of the scores are not finite (`stages.models.finite`).
        ValueError: the caption table and the downloaded images do not have the same keys.
    """
    texts = [scorer.prepare(text) if text.strip() else None for text in captions["caption"].to_pylist()]
    rows = _rows_by_key(captions)
    scores = Scores([None] * len(texts), [None] * len(texts))
    for batch in batches(images, scorer.preprocess, batch_size, without):
        for key, reason in batch.broken.items():
            for row in _take(rows, key):
                scores.errors[row] = reason
        found = [_take(rows, key) for key in batch.keys]
        distinct = [_distinct(texts[row] for row in of_image) for of_image in found]
        for of_image, said, values in zip(found, distinct, scorer.score(batch.pixels, distinct), strict=True):
            by_text: dict[str | None, float] = dict(zip(said, values, strict=True))
            for row in of_image:
                scores.values[row] = by_text.get(texts[row])  # None, the empty text, is not among them
    if rows:
        raise ValueError(f"captions of {len(rows)} image(s) that were not downloaded, {next(iter(rows))} first")
    _refuse_infinite(scores, numbers)
    return scores


def _refuse_infinite(scores: Scores, numbers: NumberFormat) -> None:
    """Give the rows whose score is not finite an error instead."""
    asked = [row for row, value in enumerate(scores.values) if value is not None]
    bad = [row for row in asked if not math.isfinite(scores.values[row] or 0.0)]
    numbers.check(len(bad), len(asked), "scores")
    for row in bad:
        scores.values[row], scores.errors[row] = None, numbers.error


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
