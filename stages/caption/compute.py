"""Write captions for a shard's images."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, TypeAlias

import pyarrow as pa

from stages.caption.spec import CaptionRecipe
from stages.contract import ModelRunOptions, Output, Shard
from stages.io.image_batches import batches
from stages.io.shards import Artifact, duplicates
from stages.keys import row_of
from stages.models import families, family
from stages.models.blip.sampling import Sampling
from stages.models.device import limit_threads, resolve_device
from stages.models.finite import NumberFormat
from stages.models.randomness import uniform_grid
from stages.tables import CAPTIONS

Written: TypeAlias = list[family.Caption] | str
"""What was written of an image; or why nothing was."""


class Caption:
    """The caption stage's compute."""

    def __init__(self, recipe: CaptionRecipe, run: ModelRunOptions, section: str = "caption") -> None:
        """Load the model; `section` is the stage's name, for messages."""
        limit_threads(run.threads)
        self._recipe = recipe
        self._batch_size = run.batch_size
        self._numbers = NumberFormat(section, recipe.dtype)
        self._captioner = families.load_captioner(
            family.ModelName(f"{section}.model", recipe.model, revision=recipe.revision),
            recipe.prompt,
            _sampling(recipe),
            recipe.dtype,
            resolve_device(run.device, f"{section}.run.device"),
        )

    def __call__(self, shard: Shard) -> Output:
        """Caption one shard; the table is `tables.CAPTIONS`, in the order of the images table.

        Raises:
            UserError: the captioner's numbers are not finite for too many of the images (`stages.models.finite`).
        """
        images, copies = shard.one("images"), duplicates(shard)
        written = self.write(images, copies)
        keys = (key for key in _downloaded(images) if key not in copies)
        rows = [row for key in keys for row in _rows(key, shard.writer, written[key])]
        failed = sum(isinstance(found, str) for found in written.values())
        counts = {"images": len(written) - failed, "captions": len(rows) - failed, "failed": failed}
        return Output(pa.Table.from_pylist(rows, schema=CAPTIONS), counts=counts)

    def write(self, images: Artifact, copies: Collection[str] = ()) -> dict[str, Written]:
        """The captions of every image that is no copy, by key; or why it has none.

        Raises:
            UserError: the captioner's numbers are not finite for too many of the images (`stages.models.finite`).
        """
        recipe, looked_at = self._recipe, 0
        written: dict[str, Written] = {}
        for batch in batches(images, self._captioner.preprocess, self._batch_size, copies):
            written |= batch.broken
            if batch.keys:
                rows = [row_of(key) for key in batch.keys]
                uniforms = uniform_grid(recipe.seed, rows, recipe.candidates, recipe.max_length)
                captions = self._captioner.caption(batch.pixels, uniforms)
                told = (self._numbers.error if found is None else found for found in captions)
                written |= zip(batch.keys, told, strict=True)
                looked_at += len(batch.keys)
        infinite = sum(found == self._numbers.error for found in written.values())
        self._numbers.check(infinite, looked_at, "images' logits")
        return written


def _sampling(recipe: CaptionRecipe) -> Sampling:
    return Sampling(
        top_p=recipe.top_p,
        top_k=recipe.top_k,
        temperature=recipe.temperature,
        repetition_penalty=recipe.repetition_penalty,
        max_length=recipe.max_length,
        min_length=recipe.min_length,
        beams=recipe.beams,
    )


def _downloaded(images: Artifact) -> list[str]:
    """Keys of the images that are there, in the table's order."""
    table = images.table(["key", "status"])
    statuses = zip(table["key"].to_pylist(), table["status"].to_pylist(), strict=True)
    return [key for key, status in statuses if status == "success"]


def _rows(key: str, writer: str, written: Written) -> Iterable[dict[str, Any]]:
    of_image = {"key": key, "writer": writer, "origin": "synthetic"}
    if isinstance(written, str):
        yield {**of_image, "candidate": 0, "caption": "", "logprob": None, "error": written}
        return
    for candidate, caption in enumerate(written, start=1):
        yield {**of_image, "candidate": candidate, "caption": caption.text, "logprob": caption.logprob, "error": None}
