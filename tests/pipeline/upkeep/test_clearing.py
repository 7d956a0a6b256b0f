"""What stays of the rows that are forgotten, in one table."""

from __future__ import annotations

import pyarrow as pa

from pipeline.store import Store
from pipeline.upkeep.clearing import Cleared, Folder, clear
from stages.contract import Output
from stages.tables import IMAGES


def test_an_image_that_never_came_keeps_the_reason(tmp_path):
    store = Store.open(str(tmp_path))
    url = store.folder("download", "00000000000000ff")
    rows = [
        {"key": key, "url": f"http://x/{key}", "status": status, "error": error, "retry": 0}
        for key, status, error in [("a", "http_4xx", "404 of a"), ("b", "success", None), ("c", "http_4xx", "404 of c")]
    ]
    store.commit(url, "web-0", Output(pa.Table.from_pylist(rows, IMAGES)), {"stage": "download"})
    clear(store, Folder.at(store, "download", url), "web-0", pa.array(["a", "b"]), done := Cleared())
    forgotten = "forgotten: it is on the removal list"
    assert store.artifact(url, "web-0").table(["key", "url", "status", "error"]).to_pylist() == [
        {"key": "a", "url": "http://x/a", "status": "http_4xx", "error": forgotten},
        {"key": "b", "url": "http://x/b", "status": "removed", "error": forgotten},
        {"key": "c", "url": "http://x/c", "status": "http_4xx", "error": "404 of c"},
    ]
    assert (done.images, done.tables) == (1, 1)
