"""What was predicted of a forgotten image leaves the table and the file in COCO's format beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa

from pipeline.store import Store
from pipeline.upkeep.clearing import Cleared, Folder, clear
from stages.contract import Output
from stages.results import coco_results
from stages.tables import PREDICTIONS

FOLDER = "predict/0123456789abcdef"


def test_it_leaves_both(tmp_path: Path) -> None:
    rows = [{"key": key, "result_id": key, "caption": f"caption {key}", "error": None} for key in ("1", "2", "3")]
    table = pa.Table.from_pylist(rows, schema=PREDICTIONS)
    (tmp_path / "results.json").write_bytes(coco_results(table))
    store = Store(str(tmp_path / "out"))
    url = f"{store.root}/{FOLDER}"
    metadata = {"stage": "predict", "fingerprint": "0123456789abcdef"}
    store.commit(url, "people-0", Output(table, {"json": tmp_path / "results.json"}), metadata)
    done = Cleared()
    clear(store, Folder.at(store, "predict", url), "people-0", pa.array(["2"]), done)
    artifact = store.artifact(url, "people-0")
    assert artifact.table().to_pylist() == [row for row in table.to_pylist() if row["key"] != "2"]
    assert json.loads(Path(artifact.side("json")).read_text()) == [
        {"image_id": 1, "caption": "caption 1"},
        {"image_id": 3, "caption": "caption 3"},
    ]
    assert done.tables == 1
    assert not any(b"caption 2" in path.read_bytes() for path in Path(url).iterdir())
    assert {name.rpartition(".")[2] for name in store.names(url)} == {"json", "parquet"}
    assert artifact.metadata()["fingerprint"] == "0123456789abcdef"
