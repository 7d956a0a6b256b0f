"""Which reader reads which format."""

from __future__ import annotations

from stages.urls import coco, conceptual, csv_file, jsonl, parquet, sbu, vg, webdataset
from stages.urls.batch import Reader

READERS: dict[str, Reader] = {
    "laion": parquet.READER,
    "parquet": parquet.READER,
    "csv": csv_file.READER,
    "jsonl": jsonl.READER,
    "cc3m": conceptual.READER,
    "cc12m": conceptual.READER,
    "sbu": sbu.READER,
    "coco": coco.READER,
    "vg": vg.READER,
    "webdataset": webdataset.READER,
}
