"""The questions that images came with, and what people answered."""

from __future__ import annotations

import pyarrow as pa

from stages.annotate.spec import AnnotateRecipe
from stages.contract import Output, RunOptions, Shard
from stages.tables import ASKED, QUESTIONS


class Questions:
    """Lists the questions that the source came with, for every image that could be had."""

    def __init__(self, recipe: AnnotateRecipe, run: RunOptions) -> None:
        del recipe, run

    def __call__(self, shard: Shard) -> Output:
        """List a shard's questions.

        Raises:
            ValueError: the images table is not the urls table's, row by row.
        """
        urls = shard.one("urls").table(["key", "questions"])
        images = shard.one("images").table(["key", "status"])
        if not urls["key"].equals(images["key"]):
            raise ValueError(f"shard {shard.name}: the images are not those of the urls, row by row")
        listed = zip(urls["key"].to_pylist(), urls["questions"].to_pylist(), images["status"].to_pylist(), strict=True)
        there = [(key, asked or ()) for key, asked, status in listed if status == "success"]
        rows = [
            {"key": key, **{field.name: one[field.name] for field in ASKED}} for key, asked in there for one in asked
        ]
        counts = {"images": sum(bool(asked) for _, asked in there), "questions": len(rows)}
        return Output(pa.Table.from_pylist(rows, schema=QUESTIONS), counts=counts)
