"""Web sources, each in the exact layout that it was published in."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.tables import URLS

ODD = 'a 12" pizza, "half\\t eaten" — 披萨 🍕, it\'s \x0c good'
"""A caption with a lone quote, a comma, a backslash, characters beyond ASCII and a form feed, but no tab."""


def laion(path: Path, **columns: Any) -> Path:
    table = {
        "SAMPLE_ID": pa.array([1.0, 2.0, 3.0, 4.0]),
        "URL": ["http://a.com/1.jpg", "https://b.com/2.jpg?x=1", "", None],
        "TEXT": ["one", ODD, "three", None],
        "HEIGHT": pa.array([300, 100, 400, None], pa.int32()),
        "WIDTH": pa.array([300, 900, 256, 500], pa.int32()),
        "LICENSE": ["?", "?", "cc-by-4.0", "?"],
        "NSFW": ["UNLIKELY", "UNLIKELY", "NSFW", None],
        "similarity": [0.31, 0.32, 0.33, 0.34],
    }
    pq.write_table(pa.table(table | columns), path)
    return path


def test_laion(tmp_path: Path, read: Any) -> None:
    table = read(format="laion", path=str(laion(tmp_path / "part-0.parquet")))
    assert table.schema == URLS
    assert table.to_pydict() == {
        "key": [f"web-00000-00000-0000{row}" for row in range(4)],
        "source": ["web"] * 4,
        "url": ["http://a.com/1.jpg", "https://b.com/2.jpg?x=1", "", None],
        "text": ["one", ODD, "three", None],
        "texts": [None] * 4,
        "file": [None] * 4,
    }


def test_laion_where_and_keep(tmp_path: Path, read: Any) -> None:
    table = read(
        format="laion",
        path=str(laion(tmp_path / "part-0.parquet")),
        where="WIDTH >= 256 AND height >= 256 AND NSFW = 'UNLIKELY' -- as in the paper",
        keep=("nsfw", "similarity"),
    )
    assert table.column_names == [*URLS.names, "nsfw", "similarity"]
    assert table.select(["url", "nsfw", "similarity"]).to_pylist() == [
        {"url": "http://a.com/1.jpg", "nsfw": "UNLIKELY", "similarity": 0.31}
    ]


def test_laion_with_lowercase_columns_as_republished(tmp_path: Path, read: Any) -> None:
    pq.write_table(pa.table({"url": ["http://a.com/1.jpg"], "caption": ["one"]}), tmp_path / "a.parquet")
    assert read(format="laion", path=str(tmp_path)).select(["url", "text"]).to_pylist() == [
        {"url": "http://a.com/1.jpg", "text": "one"}
    ]


def test_parquet_with_other_text_types(tmp_path: Path, read: Any) -> None:
    columns = {
        "link": pa.array(["http://a.com/1.jpg", "http://a.com/2.jpg"], pa.large_string()),
        "alt": pa.array(["one", "two"]).dictionary_encode(),
        "tags": [["x"], []],
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    path = str(tmp_path / "*.parquet")
    table = read(format="parquet", path=path, url="link", text="alt", keep=("tags",), where="len(tags) = 1")
    assert table.select(["url", "text", "tags"]).to_pylist() == [
        {"url": "http://a.com/1.jpg", "text": "one", "tags": ["x"]}
    ]
    assert table.schema.field("text").type == pa.string()


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("form", ["cc3m", "cc12m"])
def test_conceptual_captions(tmp_path: Path, read: Any, form: str, packed: bool, ending: str) -> None:
    order = ("text", "url") if form == "cc3m" else ("url", "text")
    rows = [
        {"url": "http://a.com/1.jpg", "text": 'a " quote that never ends'},
        {"url": "http://a.com/2.jpg", "text": ODD},
        {"url": "http://a.com/3.jpg", "text": ""},
        {"url": "", "text": "no address"},
    ]
    content = "".join("\t".join(row[column] for column in order) + ending for row in rows).encode()
    path = tmp_path / ("list.tsv.gz" if packed else "list.tsv")
    path.write_bytes(gzip.compress(content) if packed else content)
    assert read(format=form, path=str(path)).select(["url", "text"]).to_pylist() == rows


def test_conceptual_captions_with_the_header_that_img2dataset_asks_for(tmp_path: Path, read: Any) -> None:
    path = tmp_path / "cc3m.tsv"
    path.write_text("caption\turl\na dog\thttp://a.com/1.jpg\n", encoding="utf-8")
    table = read(format="cc3m", path=str(path), where="caption LIKE '%dog'", keep=("caption",))
    assert table.select(["url", "list_caption"]).to_pylist() == [{"url": "http://a.com/1.jpg", "list_caption": "a dog"}]


def test_bytes_that_are_no_utf8_lose_no_row(tmp_path: Path, read: Any) -> None:
    path = tmp_path / "cc12m.tsv"
    path.write_bytes(b"http://a.com/1.jpg\tcaf\xe9\nhttp://a.com/2.jpg\ttwo")
    assert read(format="cc12m", path=str(path)).column("text").to_pylist() == ["caf\ufffd", "two"]


@pytest.mark.parametrize("packed", [False, True])
def test_csv(tmp_path: Path, read: Any, packed: bool) -> None:
    content = (
        '\ufeffid,TEXT,WIDTH,URL\r\n1,"two ""quoted""\nlines",300,http://a.com/1.jpg\r\n'
        "2,ünï,9,http://a.com/2.jpg\r\n3,,,\r\n"
    ).encode()
    path = tmp_path / ("list.csv.gz" if packed else "list.csv")
    path.write_bytes(gzip.compress(content) if packed else content)
    table = read(format="csv", path=str(path), keep=("WIDTH",))
    assert table.select(["url", "text", "list_WIDTH"]).to_pylist() == [
        {"url": "http://a.com/1.jpg", "text": 'two "quoted"\nlines', "list_WIDTH": "300"},
        {"url": "http://a.com/2.jpg", "text": "ünï", "list_WIDTH": "9"},
        {"url": None, "text": None, "list_WIDTH": None},
    ]
    wide = read(format="csv", path=str(path), where="CAST(WIDTH AS INTEGER) >= 256")
    assert wide.column("url").to_pylist() == ["http://a.com/1.jpg"]


def test_csv_with_tabs(tmp_path: Path, read: Any) -> None:
    (tmp_path / "list.tsv").write_text("alt\tlink\na, b\thttp://a.com/1.jpg\n", encoding="utf-8")
    table = read(format="csv", path=str(tmp_path / "list.tsv"), delimiter="\t", url="link", text="alt")
    assert table.select(["url", "text"]).to_pylist() == [{"url": "http://a.com/1.jpg", "text": "a, b"}]


@pytest.mark.parametrize("packed", [False, True])
def test_jsonl(tmp_path: Path, read: Any, packed: bool) -> None:
    objects = [
        {"URL": "http://a.com/1.jpg", "TEXT": ODD, "width": 300},
        {"URL": "http://a.com/2.jpg", "TEXT": None, "tags": ["ü"], "width": 2.5},
        {"TEXT": "no address"},
    ]
    content = "\n\n".join(json.dumps(fields) for fields in objects).encode()
    path = tmp_path / ("list.jsonl.gz" if packed else "list.jsonl")
    path.write_bytes(gzip.compress(content) if packed else content)
    table = read(format="jsonl", path=str(path), keep=("width", "tags"))
    assert table.select(["url", "text", "list_width", "tags"]).to_pylist() == [
        {"url": "http://a.com/1.jpg", "text": ODD, "list_width": "300", "tags": None},
        {"url": "http://a.com/2.jpg", "text": None, "list_width": "2.5", "tags": '["ü"]'},
        {"url": None, "text": "no address", "list_width": None, "tags": None},
    ]


SBU = {
    "image_urls": ["http://static.flickr.com/1/1.jpg", "http://static.flickr.com/2/2.jpg"],
    "captions": [ODD, "two"],
    "user_ids": ["47889917@N08", "1@N00"],
}


@pytest.mark.parametrize("name", ["sbu-captions-all.json", "sbu-captions-all.json.gz", "sbu-captions-all.tar.gz"])
def test_sbu_json(tmp_path: Path, read: Any, name: str) -> None:
    content = json.dumps(SBU).encode()
    path = tmp_path / name
    if name.endswith(".tar.gz"):
        with tarfile.open(path, "w:gz") as archive:
            archive.addfile(tarfile.TarInfo("README"), io.BytesIO())
            member = tarfile.TarInfo("sbu-captions-all.json")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    else:
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    table = read(format="sbu", path=str(path), keep=("user_ids",), where="user_ids <> '1@N00'")
    assert table.select(["url", "text", "user_ids"]).to_pylist() == [
        {"url": SBU["image_urls"][0], "text": ODD, "user_ids": "47889917@N08"}
    ]
    assert read(format="sbu", path=str(path)).column("text").to_pylist() == SBU["captions"]


def test_sbu_lines(tmp_path: Path, read: Any) -> None:
    for name, column in (("urls", "image_urls"), ("captions", "captions")):
        lines = "".join(f"{entry}\n" for entry in SBU[column])
        (tmp_path / f"SBU_captioned_photo_dataset_{name}.txt").write_text(lines, encoding="utf-8", newline="\n")
    table = read(format="sbu", path=str(tmp_path / "*_urls.txt"))
    assert table.select(["url", "text"]).to_pydict() == {"url": SBU["image_urls"], "text": SBU["captions"]}
