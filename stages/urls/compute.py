"""From one input file to its URL shards, in memory that does not grow with the file."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from stages.urls.files import reading
from stages.urls.parts import Part
from stages.urls.readers import READERS
from stages.urls.selection import Selection
from stages.urls.sharding import cut, keyed
from stages.urls.spec import UrlsRecipe, UrlsRun


class Urls:
    """Cuts parts into shards. Unlike the other stages it makes many tables of one input, so it yields them."""

    def __init__(self, recipe: UrlsRecipe, run: UrlsRun) -> None:  # noqa: ARG002  # every compute takes both
        self._size = recipe.shard_size

    def __call__(self, part: Part) -> Iterator[tuple[str, pa.Table]]:
        """Yield (shard name, table) in the input's order; nothing where no row is left.

        Raises:
            UserError: the file is broken, or does not have the columns that its source says.
        """
        with reading(part.files):
            reader = READERS[part.source.format]
            select = Selection(part.source, reader.schema(part.source, part.files), place=part.files[-1])
            batches = reader.read(part.source, part.files, select.columns)
            for number, rows in enumerate(cut(map(select, batches), self._size)):
                shard = f"{part.name}-{number:05d}"
                yield shard, keyed(rows, source=part.source_name, shard=shard, schema=select.schema)
