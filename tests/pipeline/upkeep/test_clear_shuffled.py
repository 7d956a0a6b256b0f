"""What people said of a forgotten image leaves the other image that was given it, too."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from pipeline.store import Store
from pipeline.upkeep.clearing import Cleared, Folder, clear
from stages.contract import Output
from stages.tables import CAPTIONS


def test_another_image_s_text_goes_and_its_candidate_stays(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    url = store.folder("shuffle", "0123456789abcdef")
    said = [
        ("1", "shuffled", "of two"),
        ("2", "shuffled", "of one"),
        ("3", "human", "of two"),
        ("4", "shuffled", "of 3"),
    ]
    rows = [
        {"key": key, "writer": "w", "candidate": 0, "origin": origin, "caption": text} for key, origin, text in said
    ]
    store.commit(url, "people-0", Output(pa.Table.from_pylist(rows, CAPTIONS)), {})
    for _ in range(2):  # whoever was stopped does it once more
        clear(store, Folder.at(store, "shuffle", url), "people-0", pa.array(["2"]), Cleared(), texts={"of two"})
        left = store.artifact(url, "people-0").table().to_pylist()
        assert [(row["key"], row["caption"], bool(row["error"])) for row in left] == [
            ("1", "", True),
            ("3", "of two", False),  # what people said of this very image
            ("4", "of 3", False),
        ]
