"""From one input file to its URL shards, in memory that does not grow with the file."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from stages.errors import BrokenFileError
from stages.urls.batch import CONTENT, Batch
from stages.urls.damage import Damage
from stages.urls.files import reading
from stages.urls.folder import in_folder
from stages.urls.parts import Part
from stages.urls.readers import PartRows
from stages.urls.selection import Selection
from stages.urls.sharding import cut, keyed
from stages.urls.spec import UrlsRecipe, UrlsRun


class Urls:
    """Cuts parts into shards. Unlike the other stages it makes many tables of one input, so it yields them."""

    def __init__(self, recipe: UrlsRecipe, run: UrlsRun) -> None:  # noqa: ARG002  # every compute takes both
        self._size = recipe.shard_size

    def __call__(self, part: Part, damage: Damage) -> Iterator[tuple[str, pa.Table]]:
        """Yield (shard name, table) in the input's order; nothing where no row is left.

        Args:
            part: the input.
            damage: is told what of it is left out, and why.

        Raises:
            BrokenFileError: the file cannot be read.
            UserError: it does not have the columns that its source says, or its images are not in their folder.
        """
        if part.broken:
            raise BrokenFileError(part.broken)
        with reading(part.files):
            rows = PartRows(part.source, part.files)
            select = Selection(part.source, rows.schema, rows.types, damage)
            read = rows.read(select.columns, damage)
            root = part.source.images_root
            checked = read if root is None or part.source.packed else in_folder(root, read)
            batches = map(partial(_below, part.folder), checked)
            for number, table in enumerate(cut(map(select, batches), self._size)):
                shard = f"{part.name}-{number:05d}"
                yield shard, keyed(table, source=part.source_name, shard=shard, schema=select.schema)


def _below(folder: str, batch: Batch) -> Batch:
    """Return a batch whose files lie in a folder."""
    if not folder:
        return batch
    files = pc.binary_join_element_wise(folder, batch.content["file"], "")
    content = batch.content.set_column(CONTENT.get_field_index("file"), CONTENT.field("file"), files)
    return Batch(content, batch.own, batch.numbers)
