"""From one input file to its URL shards, in memory that grows by a few bytes a row.

Of a file that has been cut before, its rows are known besides: 33 bytes each.
"""

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
from stages.urls.keys import Repeats, keys_of, numbers_of, row_hashes, shard_name
from stages.urls.known import Known
from stages.urls.parts import Part
from stages.urls.readers import PartRows
from stages.urls.selection import Selection
from stages.urls.sharding import cut
from stages.urls.spec import UrlsRecipe, UrlsRun


class Urls:
    """Cuts parts into shards. Unlike the other stages it makes many tables of one input, so it yields them."""

    def __init__(self, recipe: UrlsRecipe, run: UrlsRun) -> None:  # noqa: ARG002  # every compute takes both
        self._size = recipe.shard_size

    def __call__(self, part: Part, damage: Damage, known: Known) -> Iterator[tuple[str, pa.Table]]:
        """Yield (shard name, table) of the rows that are in no shard yet, in the input's order.

        Args:
            part: the input.
            damage: is told what of it is left out, and why.
            known: the rows that are in shards already; it is told which of them still count.

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
            batches = map(partial(_placed, part), checked)
            new = _new_rows(map(select, batches), part, known, select.schema)
            for number, table in enumerate(cut(new, self._size), start=known.next_number):
                yield shard_name(part.file, number, table["key"].to_pylist()), table


def _new_rows(
    batches: Iterator[pa.RecordBatch], part: Part, known: Known, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a part that are in no shard yet, with their keys; no more rows are looked at than its limit."""
    repeats, left = Repeats(), part.limit
    for batch in batches:
        if left is not None:
            batch = batch.slice(0, left)  # noqa: PLW2901 - the rest is not there
            left -= batch.num_rows
        hashes = row_hashes(batch)
        numbers = repeats(hashes)
        keys = pa.array(keys_of(part.file, hashes, numbers), pa.string())
        columns = [keys, pa.repeat(pa.scalar(part.source_name, pa.string()), len(keys)), *batch.columns]
        keyed = pa.RecordBatch.from_arrays(columns, schema=schema)
        yield keyed.filter(pa.array(known.see(numbers_of(hashes, numbers))))
        if left == 0:
            return


def _placed(part: Part, batch: Batch) -> Batch:
    """Return a batch whose files lie in the part's folder, and whose texts are people's where the source says so."""
    content = batch.content
    if part.folder:
        files = pc.binary_join_element_wise(part.folder, content["file"], "")
        content = content.set_column(CONTENT.get_field_index("file"), CONTENT.field("file"), files)
    if part.source.trusted and not part.source.human:
        content = content.set_column(CONTENT.get_field_index("texts"), CONTENT.field("texts"), _each(content["text"]))
    return Batch(content, batch.own, batch.numbers)


def _each(texts: pa.Array) -> pa.ListArray:
    """A list of one text for every text; an empty one where there is none."""
    return pa.array([[] if text is None else [text] for text in texts.to_pylist()], pa.list_(pa.string()))
