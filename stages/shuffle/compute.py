"""Gives every image that people described a text of another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import pyarrow as pa

from stages.contract import Output, RunOptions, Shard
from stages.io.shards import duplicates
from stages.shuffle.spec import ShuffleRecipe
from stages.tables import CAPTIONS
from stages.texts import common_form, distinct
from stages.training.order import mix

ALONE: Final = "alone: no image of the shard has a text that this one does not have"
"""The error of a candidate without a text."""


class Shuffle:
    """Lists a text of another image for every one that has texts of its own, could be had and is no copy."""

    def __init__(self, recipe: ShuffleRecipe, run: RunOptions) -> None:
        del run
        self._seed = recipe.seed

    def __call__(self, shard: Shard) -> Output:
        """List a text per image of a shard.

        Raises:
            ValueError: the images table is not the urls table's, row by row.
        """
        urls, images = shard.one("urls").table(["key", "texts"]), shard.one("images").table(["key", "status"])
        if not urls["key"].equals(images["key"]):
            raise ValueError(f"shard {shard.name}: the images are not those of the urls, row by row")
        said = dict(zip(urls["key"].to_pylist(), map(distinct, map(_given, urls["texts"].to_pylist())), strict=True))
        there = zip(urls["key"].to_pylist(), images["status"].to_pylist(), strict=True)
        copies, given = duplicates(shard), shuffled(said, self._seed)
        wanted = [key for key, status in there if status == "success" and key in given and key not in copies]
        rows = [_row(key, shard.writer, given[key]) for key in wanted]
        counts = {"images": len(rows), "alone": sum(given[key] is None for key in wanted)}
        return Output(pa.Table.from_pylist(rows, schema=CAPTIONS), counts=counts)


def shuffled(said: Mapping[str, Sequence[str]], seed: int) -> dict[str, str | None]:
    """By key, what people said of another image and not of this one; None where there is no such text.

    The images that have a text stand in a circle, each at a place that hangs on seed and key, and each takes a text of
    the next one that has another than its own. So nearly every image gives one, and common texts are as common here as
    they are there; where an image stands in its list makes no difference.

    Args:
        said: the texts of every image; none of one that has none, which takes and gives nothing.
        seed: another one makes another circle.
    """
    forms = {key: {common_form(text): text for text in texts} for key, texts in said.items() if texts}
    circle = sorted(forms, key=lambda key: (mix("shuffle", seed, key), key))
    known = {form for own in forms.values() for form in own}
    found: dict[str, str | None] = {}
    for place, key in enumerate(circle):
        own, number = forms[key], mix("text", seed, key)
        followers = (forms[circle[(place + step) % len(circle)]] for step in range(1, len(circle)))
        others = next(filter(None, (_others(texts, own) for texts in followers)), []) if len(own) < len(known) else []
        found[key] = others[number % len(others)] if others else None
    return found


def _others(texts: Mapping[str, str], own: Mapping[str, str]) -> list[str]:
    return [text for form, text in texts.items() if form not in own]


def _given(texts: Sequence[str | None] | None) -> Sequence[str | None]:
    return texts or ()


def _row(key: str, writer: str, text: str | None) -> dict[str, str | int | None]:
    error = ALONE if text is None else None
    return {"key": key, "writer": writer, "candidate": 0, "origin": "shuffled", "caption": text or "", "error": error}
