from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from committed import WRITER, only, write
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.annotate.compute import Annotate
from stages.annotate.spec import AnnotateRecipe
from stages.contract import Output, RunOptions, Shard
from stages.tables import CAPTIONS, DUPLICATES, IMAGES, URLS
from stages.texts import distinct


def annotate(
    folder: Path, texts: dict[str, list[str] | str | None], statuses: dict[str, str], copies: Sequence[str] = ()
) -> Output:
    """With every image's texts: a list where people wrote them, else the web's."""
    urls = [
        {"key": key, "source": "s", "text": said, "texts": None}
        | ({"text": None, "texts": said} if isinstance(said, list) else {})
        for key, said in texts.items()
    ]
    images = [{"key": key, "status": status, "retry": 0} for key, status in statuses.items()]
    verdicts = [{"key": key, "shard": "s", "original": "o", "rule": "url"} for key in copies]
    inputs = {
        "urls": write(folder / "urls.parquet", urls, URLS),
        "images": write(folder / "images.parquet", images, IMAGES),
        **({"duplicates": write(folder / "duplicates.parquet", verdicts, DUPLICATES)} if copies else {}),
    }
    return Annotate(AnnotateRecipe(), RunOptions())(Shard(only(inputs), "s", folder, WRITER))


def test_the_captions_of_downloaded_images_become_candidates(tmp_path: Path) -> None:
    texts = {"a": [" One cat. ", "two", "One cat.", ""], "b": ["lost"], "c": [], "d": ["one cat."]}
    output = annotate(tmp_path, texts, {"a": "success", "b": "missing_file", "c": "success", "d": "success"})
    assert output.table.schema == CAPTIONS
    rows = [tuple(row.values()) for row in output.table.to_pylist()]
    assert rows == [
        ("a", WRITER, 1, "human", "One cat.", None, None),
        ("a", WRITER, 2, "human", "two", None, None),
        ("d", WRITER, 1, "human", "one cat.", None, None),
    ]
    assert output.counts == {"images": 2, "captions": 3}


def test_a_web_text_is_candidate_0_also_where_there_is_none(tmp_path: Path) -> None:
    texts = {"a": " My Dog.jpg\n", "lost": "gone", "b": None, "c": "  ", "d": ["people's"]}
    output = annotate(tmp_path, texts, {key: "timeout" if key == "lost" else "success" for key in texts})
    rows = [(row["key"], row["candidate"], row["origin"], row["caption"]) for row in output.table.to_pylist()]
    assert rows == [
        ("a", 0, "web", "My Dog.jpg"),
        ("b", 0, "web", ""),
        ("c", 0, "web", ""),
        ("d", 1, "human", "people's"),
    ]
    assert {row["writer"] for row in output.table.to_pylist()} == {WRITER}
    assert output.counts == {"images": 4, "captions": 4}


def test_copies_have_no_texts(tmp_path: Path) -> None:
    texts: dict[str, list[str] | str | None] = {"a": "one", "b": "two", "c": ["three"]}
    output = annotate(tmp_path, texts, dict.fromkeys(texts, "success"), copies=["b", "c"])
    assert output.table["key"].to_pylist() == ["a"]


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
