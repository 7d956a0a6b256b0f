"""Captions that a model wrote, against those that people wrote of the same images, and against the images."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import torch

from stages.contract import CorpusJob, CorpusShard, Output
from stages.errors import UserError
from stages.evaluate.spec import CaptionsRecipe, CaptionsRun
from stages.evaluate.tables import CAPTIONING
from stages.io.image_batches import batches
from stages.metrics.captions import CAPTION_METRICS, MISSING, can_score, score
from stages.metrics.clip_score import score_images
from stages.metrics.tokens import NAME as TOKENIZER
from stages.models.device import limit_threads, resolve_device
from stages.models.families import load_encoder
from stages.models.family import DualEncoder, ModelName
from stages.models.finite import NumberFormat

logger = logging.getLogger(__name__)

CLIP_METRICS = ("CLIPScore", "RefCLIPScore")
WHOLE = "all"
"""The name of all of a source, beside those of its parts."""
Row = dict[str, Any]
"""A row of `tables.CAPTIONING`."""


class Predicted(NamedTuple):
    """An image, what was written of it, and what people wrote."""

    caption: str
    references: Sequence[str]
    subset: str | None


class EvaluateCaptions:
    """Measures every source that it is given, each a set of its own, and so each part of one that has parts."""

    def __init__(self, recipe: CaptionsRecipe, run: CaptionsRun) -> None:
        limit_threads(run.threads)
        self._recipe = recipe
        self._batch_size = run.batch_size
        self._numbers = NumberFormat("evaluate_captions", recipe.dtype, model="clip")
        self._clip = _load(recipe, run)
        if not can_score():
            logger.warning("%s", MISSING)

    def __call__(self, work: CorpusJob) -> Output:
        """Measure.

        Raises:
            UserError: of a source no image was captioned, or CLIP's numbers are not finite.
        """
        rows: list[Row] = []
        counts = {"images": 0, "failed": 0}
        for source in work.sources:
            shards = [shard for shard in work.corpus if shard.source == source]
            found, failed = _read(shards)
            if not found:
                raise UserError(f"sources.{source}: no image of it was captioned: the view `predictions` says why")
            clip = self._by_clip(shards, found)
            for subset, images in _parts(found).items():
                rows += self._rows(source, subset, images, clip)
            counts = {"images": counts["images"] + len(found), "failed": counts["failed"] + failed}
        return Output(pa.Table.from_pylist(rows, schema=CAPTIONING), counts=counts)

    def _rows(
        self, source: str, subset: str, images: Mapping[str, Predicted], clip: Mapping[str, tuple[float, float]]
    ) -> Iterator[Row]:
        described = {key: image for key, image in images.items() if image.references}
        row = {"source": source, "subset": subset}
        with_references = {**row, **_size(described)}
        if described and can_score():
            said = {key: image.caption for key, image in described.items()}
            found = score(said, {key: image.references for key, image in described.items()})
            for measure, value in found.measures.items():
                yield {**with_references, "measure": measure, "value": value, "tokenizer": TOKENIZER}
            for key, value in found.cider.items() if subset == WHOLE else ():
                size = _size({key: described[key]})
                yield {**row, **size, "key": key, "measure": "CIDEr-D", "value": value, "tokenizer": TOKENIZER}
        elif described:
            yield from ({**with_references, "measure": measure, "error": MISSING} for measure in CAPTION_METRICS)
        for place, (measure, asked) in enumerate(zip(CLIP_METRICS, (images, described), strict=True)):
            if seen := {key: image for key, image in asked.items() if key in clip}:
                mean = sum(clip[key][place] for key in seen) / len(seen)
                yield {**row, **_size(seen), "measure": measure, "value": mean, "model": self._model}

    @property
    def _model(self) -> str:
        named = (self._recipe.clip, self._recipe.clip_pretrained, self._recipe.clip_revision)
        return " ".join(filter(None, named))

    def _by_clip(self, shards: Sequence[CorpusShard], found: Mapping[str, Predicted]) -> dict[str, tuple[float, float]]:
        """CLIPScore and RefCLIPScore by key; the latter means nothing where people wrote nothing."""
        scores: dict[str, tuple[float, float]] = {}
        if self._clip is None:
            return scores
        for shard in shards:
            for batch in batches(shard.one("images"), self._clip.preprocess, self._batch_size):
                rows = [row for row, key in enumerate(batch.keys) if key in found]
                if rows:
                    images = [found[batch.keys[row]] for row in rows]
                    texts = [image.caption for image in images], [image.references for image in images]
                    plain, with_texts = score_images(self._clip, batch.pixels[rows], *texts)
                    pairs = zip(plain.tolist(), with_texts.tolist(), strict=True)
                    scores |= zip((batch.keys[row] for row in rows), pairs, strict=True)
        self._numbers.check_all(torch.tensor([pair[0] for pair in scores.values()]), "CLIPScores")
        return scores


def _read(shards: Sequence[CorpusShard]) -> tuple[dict[str, Predicted], int]:
    """The images that have a caption, by key, and how many have none."""
    found: dict[str, Predicted] = {}
    failed = 0
    for shard in shards:
        listed = shard.one("urls").table(["key", "texts"])
        texts = dict(zip(listed["key"].to_pylist(), listed["texts"].to_pylist(), strict=True))
        for row in shard.one("predictions").table(["key", "caption", "subset", "error"]).to_pylist():
            if row["error"] is None:
                found[row["key"]] = Predicted(row["caption"], texts.get(row["key"]) or (), row["subset"])
            else:
                failed += 1
    return found, failed


def _parts(found: Mapping[str, Predicted]) -> dict[str, dict[str, Predicted]]:
    """All of a source, and then its parts, if it has any."""
    parts: dict[str, dict[str, Predicted]] = {}
    for key, image in found.items():
        if image.subset is not None:
            parts.setdefault(image.subset, {})[key] = image
    return {WHOLE: dict(found), **dict(sorted(parts.items()))}


def _size(images: Mapping[str, Predicted]) -> dict[str, int]:
    return {"images": len(images), "texts": sum(len(image.references) for image in images.values())}


def _load(recipe: CaptionsRecipe, run: CaptionsRun) -> DualEncoder | None:
    if recipe.clip is None:
        return None
    name = ModelName("evaluate_captions.clip", recipe.clip, recipe.clip_pretrained, recipe.clip_revision)
    clip = load_encoder(name, recipe.dtype, resolve_device(run.device, "evaluate_captions.run.device"))
    if clip is None:
        raise UserError(f"{name.key}: '{name.model}' reads no text; name a model of images and texts")
    return clip
