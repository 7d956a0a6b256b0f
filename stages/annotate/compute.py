"""The texts that images came with, as candidates: the web's, or those that people wrote."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import pyarrow as pa

from stages.annotate.spec import AnnotateRecipe
from stages.contract import Output, RunOptions, Shard
from stages.io.shards import duplicates
from stages.tables import CAPTIONS
from stages.texts import distinct


class Annotate:
    """Lists the texts that the source came with, for every image that could be had and is no copy."""

    def __init__(self, recipe: AnnotateRecipe, run: RunOptions) -> None:
        del recipe, run

    def __call__(self, shard: Shard) -> Output:
        """List a shard's texts.

        Raises:
            ValueError: the images table is not the urls table's, row by row.
        """
        urls = shard.one("urls").table(["key", "text", "texts"])
        images = shard.one("images").table(["key", "status"])
        if not urls["key"].equals(images["key"]):
            raise ValueError(f"shard {shard.name}: the images are not those of the urls, row by row")
        captions = given_texts(urls, images["status"].to_pylist(), shard.writer, duplicates(shard))
        counts = {"images": len(captions["key"].unique()), "captions": captions.num_rows}
        return Output(captions, counts=counts)


def given_texts(urls: pa.Table, statuses: Sequence[str], writer: str, without: Collection[str] = ()) -> pa.Table:
    """The captions table of the successful rows.

    A web text is candidate 0, "" where there is none; human captions are 1..m in the order of `texts`.

    Args:
        urls: a urls table.
        statuses: its images', row by row.
        writer: by which the candidates are known.
        without: keys of rows to leave out.
    """
    rows = zip(*(urls[name].to_pylist() for name in ("key", "text", "texts")), statuses, strict=True)
    records = [
        {"key": key, "writer": writer, "origin": origin, "candidate": candidate, "caption": caption}
        for key, text, texts, status in rows
        if status == "success" and key not in without
        for origin, candidate, caption in _candidates(text, texts)
    ]
    return pa.Table.from_pylist(records, schema=CAPTIONS)


def _candidates(text: str | None, texts: Sequence[str | None] | None) -> Iterator[tuple[Any, int, str]]:
    if texts is None:
        yield "web", 0, (text or "").strip()
    else:
        yield from (("human", number, said) for number, said in enumerate(distinct(texts), start=1))
