from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.annotate.compute import Annotate, distinct
from stages.annotate.spec import AnnotateRecipe
from stages.contract import Output, RunOptions, Shard
from stages.io.shards import Artifact
from stages.tables import CAPTIONS, IMAGES, URLS


def annotate(folder: Path, texts: dict[str, list[str] | None], statuses: dict[str, str]) -> Output:
    urls = [{"key": key, "source": "coco", "texts": captions} for key, captions in texts.items()]
    images = [{"key": key, "status": status, "retry": 0} for key, status in statuses.items()]
    for name, rows, schema in (("urls", urls, URLS), ("download", images, IMAGES)):
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / f"{name}.parquet")
    inputs = {name: Artifact(str(folder / f"{name}.parquet")) for name in ("urls", "download")}
    return Annotate(AnnotateRecipe(), RunOptions())(Shard("s", inputs, folder))


def test_the_captions_of_downloaded_images_become_candidates(tmp_path: Path) -> None:
    texts = {"a": [" One cat. ", "two", "One cat.", ""], "b": ["lost"], "c": None, "d": ["one cat."]}
    output = annotate(tmp_path, texts, {"a": "success", "b": "missing_file", "c": "success", "d": "success"})
    assert output.table.schema == CAPTIONS
    rows = [tuple(row.values()) for row in output.table.to_pylist()]
    assert rows == [
        ("a", 1, "human", "One cat.", None, None),
        ("a", 2, "human", "two", None, None),
        ("d", 1, "human", "one cat.", None, None),
    ]
    assert output.counts == {"images": 2, "captions": 3}


def test_no_image_at_all(tmp_path: Path) -> None:
    output = annotate(tmp_path, {"a": ["x"]}, {"a": "error"})
    assert output.table.num_rows == 0
    assert output.table.schema == CAPTIONS


@pytest.mark.parametrize("statuses", [{"b": "success", "a": "success"}, {"a": "success"}])
def test_tables_of_different_rows_are_refused(tmp_path: Path, statuses: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="row by row"):
        annotate(tmp_path, {"a": ["x"], "b": ["y"]}, statuses)


@settings(deadline=None)
@given(st.lists(st.none() | st.text(" ab\n", max_size=4)))
def test_distinct(texts: list[str | None]) -> None:
    kept = distinct(texts)
    assert set(kept) == {text.strip() for text in texts if text} - {""}
    assert len(kept) == len(set(kept))
    first = [next(i for i, text in enumerate(texts) if (text or "").strip() == one) for one in kept]
    assert first == sorted(first)
