"""Which reader reads which format, and one part as its reader and its place give it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from stages.urls import coco, conceptual, csv_file, json_list, jsonl, nocaps, parquet, sbu, vg, vg_qa, vqa, webdataset
from stages.urls.batch import Batch, Reader
from stages.urls.damage import Damage
from stages.urls.files import Files
from stages.urls.partitions import beside, with_partitions
from stages.urls.types import type_of_texts

READERS: dict[str, Reader] = {
    "laion": parquet.READER,
    "parquet": parquet.READER,
    "csv": csv_file.READER,
    "jsonl": jsonl.READER,
    "json": json_list.READER,
    "cc3m": conceptual.READER,
    "cc12m": conceptual.READER,
    "sbu": sbu.READER,
    "coco": coco.READER,
    "nocaps": nocaps.READER,
    "vg": vg.READER,
    "vqa": vqa.READER,
    "vg_qa": vg_qa.READER,
    "webdataset": webdataset.READER,
}


class PartRows:
    """The rows of one part.

    Args:
        source: how they are laid out.
        files: the part's.

    Raises:
        UserError: the file is broken, or is not what the source says.
    """

    def __init__(self, source: Any, files: Files) -> None:
        self._reader = READERS[source.format]
        self._source = source
        self._files = files
        own = self._reader.schema(source, files)
        self._folders = beside(own, files[0])
        self.schema: pa.Schema = pa.schema([*own, *((name, pa.string()) for name in self._folders)])
        """Its own columns, those of its folders among them."""

    def types(self, columns: Sequence[str]) -> Mapping[str, str]:
        """Return DuckDB's types of columns that are text because the format has none."""
        own = self._reader.types(self._source, self._files, self._own(columns))
        return {**own, **{name: type_of_texts([self._folders[name]]) for name in columns if name in self._folders}}

    def read(self, columns: Sequence[str], damage: Damage) -> Iterator[Batch]:
        """Yield every row in order, with the own columns that are asked for."""
        batches = self._reader.read(self._source, self._files, self._own(columns), damage)
        return with_partitions(batches, self._folders, list(columns)) if self._folders else batches

    def _own(self, columns: Sequence[str]) -> list[str]:
        return [name for name in columns if name not in self._folders]
