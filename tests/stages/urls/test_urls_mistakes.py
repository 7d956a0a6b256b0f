"""What a user gets wrong is told in one line that names the file and the place in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from stages.errors import UserError
from stages.urls.check import check

ADDRESS = "http://a.com/1.jpg"


@pytest.fixture
def laion(tmp_path: Path) -> str:
    path = tmp_path / "part.parquet"
    pq.write_table(pa.table({"URL": [ADDRESS], "TEXT": ["one"], "WIDTH": [1], "pwatermark": [0.5]}), path)
    return str(path)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("WIDHT > 3", r'"WIDHT" not found.*; its columns are URL \(string\), TEXT \(string\), WIDTH \(int64\)'),
        ("WIDTH >", "syntax error"),
        ("WIDTH > 3; DROP TABLE x", "syntax error"),
        ("TEXT + 1 > 3", "where: .*TEXT"),
        ("avg(WIDTH) > 3", "aggregates"),
        ("row_number() OVER () > 3", "window"),
        ("random() < 0.1", r"random answers differently each time; to sample use hash\(column\)"),
        ("WIDTH > 3 AND current_date > DATE '2020-01-01'", "current_date answers differently each time"),
        ("URL IN (SELECT url FROM 'blocked.csv')", "subquery"),
    ],
)
def test_where(laion: str, read: Any, source: Any, where: str, message: str) -> None:
    settings = {"format": "laion", "path": laion, "where": where}
    for call in (lambda: check("laion", source(**settings)), lambda: read(**settings)):
        with pytest.raises(UserError, match=message) as told:
            call()
        assert "part.parquet" in str(told.value)
        assert "\n" not in str(told.value)


def test_where_on_a_value_that_does_not_fit(laion: str, read: Any) -> None:
    with pytest.raises(UserError, match=r"part\.parquet: .*'one'"):
        read(format="laion", path=laion, where="CAST(TEXT AS INTEGER) > 3")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"format": "laion", "keep": ("punsafe",)}, r"has no column 'punsafe' \(keep:\); it has URL, TEXT, WIDTH"),
        (
            {"format": "laion", "keep": ("width", "WIDTH")},
            r"keep: width, WIDTH: two of these are one column of .*part\.parquet",
        ),
        ({"format": "parquet", "url": "link"}, r"has no column 'link' \(url:\); it has URL"),
        ({"format": "parquet", "text": "alt"}, r"has no column 'alt' \(text:\); it has URL"),
        ({"format": "laion", "path": "nowhere"}, "source web: no file matches nowhere"),
    ],
)
def test_columns_and_paths(laion: str, source: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check("web", source(**({"path": laion} | settings)))


def test_a_column_that_holds_no_text(laion: str, read: Any) -> None:
    with pytest.raises(UserError, match="column 'WIDTH' holds int64, not text"):
        read(format="parquet", path=laion, text="WIDTH")


@pytest.mark.parametrize(
    ("form", "content", "message"),
    [
        (
            "cc12m",
            f"{ADDRESS}\tone\n{ADDRESS}\n\n{ADDRESS}\n{ADDRESS}",
            "line 2: 1 field in place of 2; 3 of 5 are wrong",
        ),
        ("cc3m", f"two\tthree\t{ADDRESS}\n", "line 1: 3 fields in place of 2; 1 of 1 are wrong"),
        ("cc3m", f"{ADDRESS}\tone\n", "line 1: the url stands where cc3m has the caption; use format: cc12m"),
        ("cc12m", "caption\turl\n", "use format: cc3m"),
        ("jsonl", '{"URL": \n', "line 1: broken JSON: Expecting value; 1 of 1 are wrong: is this the format"),
        ("jsonl", '{"URL": "a", "TEXT": "b"}\n1\nnull\n', "line 2: no JSON object; 2 of 3 are wrong"),
        ("jsonl", f'[{{"URL": "{ADDRESS}", "TEXT": "one"}}]', "is a JSON list, not lines of JSON; use format: json"),
        ("jsonl", '[\n{"URL": "a"},\n', "is a JSON list, not lines of JSON; use format: json"),
        ("json", '{"url": "a"}\n', "has no key 'annotations'; lines of JSON objects are format: jsonl"),
        ("json", "url,caption\n", "is no JSON list; lines of JSON objects are format: jsonl"),
        (
            "json",
            '[{"image": "a.jpg", "caption": "one"}]',
            r"say by `images:` where its images lie\); it has image, caption",
        ),
        ("json", "[]", "has no entries"),
        ("json", '[{"url": "a", "caption": "b"}][]', "something follows the list"),
        ("jsonl", '{"url": "x"}\n', r"has no column 'TEXT' \(text:\); it has url"),
        ("csv", f"URL,TEXT\n{ADDRESS}\n" + f"{ADDRESS}\n" * 2, "line 2: 1 field in place of 2; 3 of 4 are wrong"),
        ("csv", "", "is empty; fetch it anew"),
        ("csv", "\n\r\n", "has no header line"),
        ("csv", '"URL"\t"TEXT"\n', r"line 1: text after a closing quote\); its header line .* is `delimiter` right"),
        ("sbu", '{"image_urls": ["a", "b"], "captions": ["one"]}', "captions ends before entry 2"),
        ("sbu", '{"image_urls": ["a"]}', "has no key 'captions'"),
        ("sbu", '{"image_urls": ["a",\n "b"', "line 2: broken JSON"),
        ("sbu", '{"image_urls": ["a",\n "b"c"], "captions": []}', "line 2: broken JSON"),
    ],
)
def test_broken_files(tmp_path: Path, read: Any, form: str, content: str, message: str) -> None:
    path = tmp_path / "list.any"
    path.write_text(content, encoding="utf-8", newline="\n")
    with pytest.raises(UserError, match=message) as told:
        read(format=form, path=str(path))
    assert str(path) in str(told.value)


@pytest.mark.parametrize(
    ("form", "content", "message"),
    [
        ("coco", {"images": [{"split": "train", "filename": "a.jpg"}]}, "image 1: no 'sentences'; 1 of 1 are wrong"),
        ("coco", {"images": [{"id": 1, "file_name": "a.jpg"}]}, "has no key 'annotations'"),
        ("coco", {"annotations": []}, "has no key 'images'"),
        ("coco", [{"image": "a.jpg"}], "entry 1: no 'caption'; 1 of 1 are wrong"),
        (
            "vg",
            [{"id": 1, "regions": 5}, {"id": 2, "regions": [], "x": 0}, {"regions": []}],
            "entry 1: 'regions' is of",
        ),
    ],
)
def test_broken_annotations(tmp_path: Path, read: Any, form: str, content: Any, message: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UserError, match=rf"a\.json.*{message}"):
        read(format=form, path=str(tmp_path / "a.json"), images=str(tmp_path))


def test_human_sources_are_checked(tmp_path: Path, source: Any) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"id": 1, "regions": []}]), encoding="utf-8")
    with pytest.raises(UserError, match=r"source vg: there is no folder .*nowhere; correct its `images`"):
        check("vg", source(format="vg", path=str(path), images=str(tmp_path / "nowhere")))
    with pytest.raises(UserError, match=r"names no folders, and https://a\.com cannot be searched"):
        check("vg", source(format="vg", path=str(path), images="https://a.com"))
    path.write_text(json.dumps([{"image": "a.jpg", "caption": "one"}]), encoding="utf-8")
    check("vg", source(format="vg", path=str(path), images="https://a.com"))
    with pytest.raises(UserError, match=r"a\.json is one split; leave `splits` out"):
        check("coco", source(format="coco", path=str(path), images=str(tmp_path), splits=("val",)))


def test_a_truncated_gzip(tmp_path: Path, read: Any) -> None:
    import gzip

    path = tmp_path / "cc3m.tsv.gz"
    path.write_bytes(gzip.compress(f"one\t{ADDRESS}\n".encode() * 1000)[:-20])
    with pytest.raises(UserError, match=r"cc3m\.tsv\.gz cannot be read: .*; is it complete\?"):
        read(format="cc3m", path=str(path))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"format": "laion", "path": "a", "keep": ("NSFW", "NSFW")}, "names a column twice"),
        ({"format": "laion", "path": ()}, "names no file"),
        ({"format": "webdataset", "path": ("s3://a/0.tar", "s3://b/0.tar")}, "write a source for each"),
        ({"format": "webdataset", "path": ("s3://a/0.tar", "b/0.tar")}, "write a source for each"),
        ({"format": "coco", "path": "a"}, "images"),
        ({"format": "tfrecord", "path": "a"}, "tfrecord"),
        ({"format": "cc3m", "path": "a", "url": "x"}, "Extra inputs"),
    ],
)
def test_a_manifest_that_is_wrong(source: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        source(**settings)
