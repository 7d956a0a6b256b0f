"""Web sources, each in the exact layout that it was published in."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.errors import UserError
from stages.tables import URLS
from stages.urls.keys import file_id, keys_of, row_hashes

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
        "key": keys_of(file_id("web", "part-0.parquet"), row_hashes(table.to_batches()[0]), np.zeros(4, np.int64)),
        "source": ["web"] * 4,
        "url": ["http://a.com/1.jpg", "https://b.com/2.jpg?x=1", "", None],
        "text": ["one", ODD, "three", None],
        "texts": [None] * 4,
        "file": [None] * 4,
        "questions": [None] * 4,
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
    content = "\n\t\n".join(json.dumps(fields) for fields in objects).encode()
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


@pytest.mark.parametrize("name", ["ccs_filtered.json", "ccs_filtered.json.gz"])
def test_json_list_as_blip_released_it(tmp_path: Path, read: Any, name: str) -> None:
    entries = [{"url": f"http://a.com/{number}.jpg", "caption": ODD, "extra": [number]} for number in range(3)]
    content = json.dumps(entries).encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    table = read(format="json", path=str(tmp_path / name), keep=("extra",))
    assert table.select(["url", "text", "extra"]).to_pylist() == [
        {"url": f"http://a.com/{number}.jpg", "text": ODD, "extra": f"[{number}]"} for number in range(3)
    ]


@pytest.mark.parametrize("images", ["pictures", "https://a.com/pictures/"])
def test_json_list_with_images_in_place_of_urls(tmp_path: Path, read: Any, images: str) -> None:
    entries = [{"image": "1.jpg", "caption": "one"}, {"url": "http://b.com/2.jpg", "caption": "two"}]
    (tmp_path / "a.json").write_text(json.dumps(entries))
    table = read(format="json", path=str(tmp_path / "a.json"), images=images)
    web = images.startswith("https")
    assert table.select(["url", "file", "text"]).to_pylist() == [
        {"url": f"{images}1.jpg" if web else None, "file": None if web else "1.jpg", "text": "one"},
        {"url": "http://b.com/2.jpg", "file": None, "text": "two"},
    ]


def test_redcaps(tmp_path: Path, read: Any) -> None:
    annotations = [
        {"image_id": f"x{number}", "author": "u", "url": f"https://i.redd.it/{number}.jpg", "raw_caption": "RAW!"}
        | {"caption": f"cat {number}", "subreddit": "cats", "score": number, "created_utc": 1500000000}
        | {"permalink": "/r/cats/1", "crosspost_parents": ["t3_a"] if number else None}
        for number in range(3)
    ]
    content = {"info": {"start": "2017", "url": ["not this"]}, "annotations": annotations}
    (tmp_path / "cats_2017.json").write_text(json.dumps(content))
    table = read(format="json", path=str(tmp_path), where="score >= 1", keep=("subreddit", "crosspost_parents"))
    assert table.select(["url", "text", "crosspost_parents"]).to_pylist() == [
        {"url": f"https://i.redd.it/{number}.jpg", "text": f"cat {number}", "crosspost_parents": '["t3_a"]'}
        for number in (1, 2)
    ]
    raw = read(format="json", path=str(tmp_path / "cats_2017.json"), text="raw_caption")
    assert raw["text"].to_pylist() == ["RAW!"] * 3


def test_two_columns_of_one_name(tmp_path: Path, read: Any) -> None:
    (tmp_path / "a.csv").write_text(",URL,TEXT,tag,tag\n0,http://a.com,one,x,y\n")
    table = read(format="csv", path=str(tmp_path / "a.csv"), keep=("tag", "tag_1", "column0"), where="tag_1 = 'y'")
    assert table.select(["tag", "tag_1", "column0"]).to_pylist() == [{"tag": "x", "tag_1": "y", "column0": "0"}]
    columns = [pa.array([value]) for value in ("http://a.com", "one", "x", "y", "z")]
    pq.write_table(pa.Table.from_arrays(columns, ["URL", "TEXT", "text", "tag", "tag"]), tmp_path / "a.parquet")
    table = read(format="laion", path=str(tmp_path / "a.parquet"), keep=("tag_1", "tag"), where="tag = 'y'")
    assert table.select(["text", "tag", "tag_1"]).to_pylist() == [{"text": "one", "tag": "y", "tag_1": "z"}]
    with pytest.raises(UserError, match="'TEXT' and 'text' are two columns, which SQL takes for one"):
        read(format="laion", path=str(tmp_path / "a.parquet"), where="text = 'x'")


def test_own_columns_have_the_types_of_their_file(tmp_path: Path, read: Any) -> None:
    from stages.urls.compute import Urls
    from stages.urls.damage import Damage
    from stages.urls.known import Known
    from stages.urls.parts import find_parts
    from stages.urls.spec import LaionSource, UrlsRecipe, UrlsRun

    values: dict[str, list[Any]] = {"a": [1, ["x"], {"n": 1}, None], "b": ["one", "x", "text", 3]}
    for name, own in values.items():
        columns = {f"c{at}": pa.array([value]) for at, value in enumerate(own)}
        pq.write_table(pa.table({"URL": ["http://a.com"], "TEXT": [name], **columns}), tmp_path / f"{name}.parquet")
    source = LaionSource(format="laion", path=str(tmp_path), keep=("c0", "c1", "c2", "c3"))
    for part, own in zip(find_parts("web", source), values.values(), strict=True):
        ((_, table),) = Urls(UrlsRecipe(), UrlsRun())(part, Damage(part.place), Known(part.file))
        assert table.column_names == [*URLS.names, "c0", "c1", "c2", "c3"]
        assert [table[f"c{at}"].type for at in range(4)] == [pa.array([value]).type for value in own]
        assert [table[f"c{at}"][0].as_py() for at in range(4)] == own
