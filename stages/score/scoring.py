"""Scores of a shard's candidates, whatever the model.

An image is encoded once, equal texts of an image are scored once, and an empty text has no score. Nor has a row whose
image cannot be looked at, or whose score is not finite; its error says why.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import pyarrow as pa

from stages.candidates import CANDIDATE, read_candidates
from stages.contract import Output, Shard
from stages.io.image_batches import batches
from stages.io.shards import Artifact, duplicates
from stages.models.family import PairScorer
from stages.models.finite import NumberFormat


@dataclass(frozen=True)
class Scores:
    """Of all candidates, in their order."""

    values: list[float | None]
    """None where the text is empty, or where there is an error."""
    errors: list[str | None]
    """Why a row has no score, in words; None where it has one, or needs none."""

    @property
    def counts(self) -> dict[str, int]:
        """How many rows have a score, how many need none, and how many could not be scored."""
        failed, unscored = len(self.errors) - self.errors.count(None), self.values.count(None)
        return {"scored": len(self.values) - unscored, "empty": unscored - failed, "failed": failed}


def score_shard(scorer: PairScorer, shard: Shard, batch_size: int, numbers: NumberFormat, schema: pa.Schema) -> Output:
    """Score the candidates of a shard, row for row: what tells the rows apart, the score, and why there is none.

    Args:
        scorer: the model.
        shard: with the roles `images` and `captions`, and perhaps `duplicates`.
        batch_size: images per forward pass.
        numbers: what the model computes in.
        schema: of the table that it becomes: key, writer, candidate, score, error.

    Raises:
        UserError: too many of the scores are not finite (`stages.models.finite`).
        ValueError: the captions and the downloaded images do not have the same keys.
    """
    captions = read_candidates(shard, ["caption"])
    without = duplicates(shard).difference(captions["key"].unique().to_pylist())
    scores = score_candidates(scorer, shard.one("images"), captions, batch_size, numbers, without=without)
    columns = [
        *(captions[name] for name in CANDIDATE),
        pa.array(scores.values, pa.float32()),
        pa.array(scores.errors, pa.string()),
    ]
    return Output(pa.table(columns, schema=schema), counts=scores.counts)


def score_candidates(  # noqa: PLR0913, PLR0917 - what is scored, and how
    scorer: PairScorer,
    images: Artifact,
    captions: pa.Table,
    batch_size: int,
    numbers: NumberFormat,
    without: Collection[str] = (),
) -> Scores:
    """Score every candidate against its image.

    Args:
        scorer: the model.
        images: the download shard that the candidates belong to.
        captions: what is scored, as `stages.candidates` reads it.
        batch_size: images per forward pass.
        numbers: what the model computes in.
        without: keys of downloaded images that have no captions, and should have none.

    Raises:
        UserError: too many of the scores are not finite (`stages.models.finite`).
        ValueError: the captions and the downloaded images do not have the same keys.
    """
    texts = [scorer.prepare(text) if text.strip() else None for text in captions["caption"].to_pylist()]
    rows = _rows_by_key(captions["key"].to_pylist())
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


def _rows_by_key(keys: Iterable[str]) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    return rows


def _take(rows: dict[str, list[int]], key: str) -> list[int]:
    if key not in rows:
        raise ValueError(f"image {key} was downloaded but has no row in the caption table")
    return rows.pop(key)
