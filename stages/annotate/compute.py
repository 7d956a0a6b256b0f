"""Human captions of the downloaded images, in the shape that synthetic ones have."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from stages.annotate.spec import AnnotateRecipe
from stages.contract import Output, RunOptions, Shard
from stages.tables import CAPTIONS


class Annotate:
    """Lists the captions that the source came with, for every image that could be had."""

    def __init__(self, recipe: AnnotateRecipe, run: RunOptions) -> None:
        del recipe, run

    def __call__(self, shard: Shard) -> Output:
        """List a shard's human captions.

        Raises:
            ValueError: the images table is not the urls table's, row by row.
        """
        urls = shard.inputs["urls"].table(["key", "texts"])
        images = shard.inputs["download"].table(["key", "status"])
        if not urls["key"].equals(images["key"]):
            raise ValueError(f"shard {shard.name}: the images are not those of the urls, row by row")
        captions = human_captions(urls, images["status"].to_pylist())
        with_caption = len(captions["key"].unique())
        return Output(captions, counts={"images": with_caption, "captions": captions.num_rows})


def human_captions(urls: pa.Table, statuses: Sequence[str]) -> pa.Table:
    """The captions table of the successful rows: candidates 1..m in the order of `texts`."""
    records = [
        {"key": key, "candidate": candidate, "origin": "human", "caption": caption}
        for key, texts, status in zip(urls["key"].to_pylist(), urls["texts"].to_pylist(), statuses, strict=True)
        if status == "success"
        for candidate, caption in enumerate(distinct(texts or []), start=1)
    ]
    return pa.Table.from_pylist(records, schema=CAPTIONS)


def distinct(texts: Sequence[str | None]) -> list[str]:
    """The texts without surrounding whitespace; empty ones and exact repetitions are dropped."""
    stripped = ((text or "").strip() for text in texts)
    return list(dict.fromkeys(text for text in stripped if text))
