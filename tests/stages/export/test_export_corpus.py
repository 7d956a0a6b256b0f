"""The corpus in other programs' formats, read with what they read it with."""

from __future__ import annotations

import io
import json
import math
import re
import tarfile
from datetime import date
from decimal import Decimal
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from committed import WRITER, only, write
from PIL import Image

from stages.contract import CorpusShard
from stages.corpus import kept_captions
from stages.export.pairs import pairs, write_list
from stages.export.sample import as_json
from stages.export.tars import write_shard
from stages.tables import CAPTIONS, IMAGES, MATCHES, SELECTION, SIMILARITIES, URLS


def encoded(colour: str, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGBA" if kind == "png" else "RGB", (40, 30), colour).save(buffer, kind)
    return buffer.getvalue()


PICTURES = {
    "web-0-0-0": ("jpg", encoded("red", "jpeg")),
    "web-0-0-1": ("png", encoded("blue", "png")),
    "web-0-0-2": ("jpg", encoded("green", "jpeg")),
    "web-0-0-3": ("webp", encoded("black", "webp")),
}
CHOSEN = [  # key, candidate, caption, rank, kept, clip, itm
    ("web-0-0-0", 0, "IMG_1234", None, False, 0.1, 0.0),
    ("web-0-0-0", 1, "a red field", 2, True, 0.25, 0.5),
    ("web-0-0-0", 2, "A red flag, »rouge«", 1, True, 0.5, math.nan),
    ("web-0-0-1", 1, "a blue field", 1, True, 0.75, None),
    ("web-0-0-2", 1, "a dog", 1, False, 0.0, 0.0),
    ("web-0-0-3", 1, "night", 1, True, None, None),
    ("web-0-0-3", 2, "darkness", 2, True, None, None),
    ("web-0-0-3", 3, "a black cat", 3, True, None, None),
]
OWN = pa.schema(
    [
        pa.field("LICENSE", pa.string()),
        pa.field("caption", pa.string()),
        pa.field("list_caption", pa.int32()),
        pa.field("similarity", pa.float64()),
    ]
)
"""Columns that the list had, one of them called like what a tar's json has."""


@pytest.fixture
def shard(tmp_path) -> CorpusShard:
    """Three images are kept; the last comes from people, whose captions have no scores."""
    with tarfile.open(tmp_path / "images.1.tar", "w") as tar:
        for key, (ending, content) in PICTURES.items():
            member = tarfile.TarInfo(f"{key}.{ending}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    addresses = {"web-0-0-0": "http://x/0", "web-0-0-1": "http://x/1", "web-0-0-2": "http://x/2"}
    urls = [{**dict.fromkeys(URLS.names), "key": key, "url": addresses.get(key), "source": "web"} for key in PICTURES]
    urls[0] |= {"LICENSE": "by-sa", "caption": "alt", "list_caption": 7, "similarity": math.inf}
    urls[3]["file"] = "train/3.webp"
    images = [
        {**dict.fromkeys(IMAGES.names), "retry": 0, "key": key, "status": "success", "member": f"{key}.{ending}"}
        for key, (ending, _) in PICTURES.items()
    ]
    images[0] |= {"sha256": "ab", "md5": "cd", "width": 40, "height": 30, "original_width": 80, "original_height": 60}
    by = {"writer": WRITER}
    said = [
        {**by, "key": key, "candidate": number, "origin": "synthetic" if number else "web", "caption": caption}
        for key, number, caption, *_ in CHOSEN
    ]
    chosen = [
        {**by, "key": key, "candidate": number, "rank": rank, "kept": kept, "reason": "kept" if kept else "outranked"}
        for key, number, _, rank, kept, *_ in reversed(CHOSEN)  # in no particular order
    ]
    scores = [{**by, "key": row[0], "candidate": row[1], "clip_score": row[5], "itm_score": row[6]} for row in CHOSEN]
    tables = {
        "urls": write(tmp_path / "urls.parquet", urls, pa.schema([*URLS, *OWN])),
        "images": write(tmp_path / "images.parquet", images, IMAGES, {"side.tar": "images.1.tar"}),
        "captions": write(tmp_path / "captions.parquet", said, CAPTIONS),
        "similarities": write(tmp_path / "rank.parquet", scores, SIMILARITIES),
        "matches": write(tmp_path / "filter.parquet", scores, MATCHES),
        "selection": write(tmp_path / "select.parquet", chosen, SELECTION),
    }
    return CorpusShard(only(tables), "web", "web-0-0")


def members(path: str) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


READERS = {  # what each of them takes of a sample's json
    "salesforce-lavis 1.0.2": lambda said: said["caption"],
    "LAVIS's repository": lambda said: said[:2][0] if isinstance(said, list) else said["caption"],
    "img2dataset's tars": lambda said: said["caption"] if {"url", "key", "sha256", "width"} <= set(said) else None,
    "the best of the ranked": lambda said: said["captions"][0],
}


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_finds_the_best_caption_where_it_looks(reader, shard, tmp_path):
    """With the steps of LAVIS's LAION loader, but for its shuffling and its endless repetition."""
    assert write_shard(shard, str(tmp_path / "out/00000.tar")).images == 3
    pipeline = webdataset.DataPipeline(
        webdataset.SimpleShardList(str(tmp_path / "out/{00000..00000}.tar")),
        webdataset.tarfile_to_samples(),
        webdataset.decode("pilrgb"),
        webdataset.to_tuple("jpg", "json", "txt", "__key__"),
    )
    found = {key: (image, READERS[reader](said), best) for image, said, best, key in pipeline}
    best = {"web-0-0-0": "A red flag, »rouge«", "web-0-0-1": "a blue field", "web-0-0-3": "night"}
    assert {key: said for key, (_, said, _) in found.items()} == best
    assert {key: txt for key, (_, _, txt) in found.items()} == best
    assert found["web-0-0-1"][0].getpixel((5, 5))[2] > 240
    assert all(image.size == (40, 30) and image.mode == "RGB" for image, _, _ in found.values())


def test_the_json_says_all_of_an_image_and_no_column_of_the_list_hides_it(shard, tmp_path):
    write_shard(shard, str(tmp_path / "a.tar"))
    found = members(tmp_path / "a.tar")
    assert json.loads(found["web-0-0-0.json"]) == {
        "caption": "A red flag, »rouge«",
        "captions": ["A red flag, »rouge«", "a red field"],
        "origins": ["synthetic", "synthetic"],
        "clip_scores": [0.5, 0.25],
        "itm_scores": [None, 0.5],
        "key": "web-0-0-0",
        "url": "http://x/0",
        "source": "web",
        "width": 40,
        "height": 30,
        "original_width": 80,
        "original_height": 60,
        "sha256": "ab",
        "md5": "cd",
        "LICENSE": "by-sa",
        "list_list_caption": "alt",
        "list_caption": 7,
        "similarity": None,
    }
    assert json.loads(found["web-0-0-3.json"])["clip_scores"] == [None, None, None]
    keys = [list(json.loads(found[name])) for name in found if name.endswith("json")]
    assert keys[0] == keys[1] == keys[2]


def test_the_page_shows_the_object_as_it_is(shard, tmp_path):
    page = (Path(__file__).parents[3] / "docs/exports.md").read_text()
    shown = json.loads(re.search(r"```json\n(.*?)```", page, re.DOTALL)[1])
    write_shard(shard, str(tmp_path / "a.tar"))
    found = json.loads(members(tmp_path / "a.tar")["web-0-0-0.json"])
    assert [name for name in shown if name not in ("LICENSE", "list_caption")] == list(found)[: len(shown) - 2]


def test_without_scores_every_caption_has_none(shard, tmp_path):
    tables = {role: found for role, found in shard.inputs.items() if role not in {"similarities", "matches"}}
    write_shard(CorpusShard(tables, "web", "web-0-0"), str(tmp_path / "a.tar"))
    found = json.loads(members(tmp_path / "a.tar")["web-0-0-0.json"])
    assert found["captions"] == ["A red flag, »rouge«", "a red field"]
    assert found["clip_scores"] == found["itm_scores"] == [None, None]


def test_json_of_any_value_is_read_by_strict_parsers():
    value = {
        "nan": math.nan,
        "deep": [{"x": -math.inf}, (1.5, b"caf\xe9")],
        "day": date(2024, 2, 29),
        "money": Decimal("1.10"),
        "yes": True,
        "none": None,
        "big": 2**60,
    }

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    assert json.loads(as_json(value), parse_constant=refuse) == {
        "nan": None,
        "deep": [{"x": None}, [1.5, "caf\ufffd"]],
        "day": "2024-02-29",
        "money": "1.10",
        "yes": True,
        "none": None,
        "big": 2**60,
    }


def test_a_jpeg_stays_as_it_is_and_others_become_one(shard, tmp_path):
    write_shard(shard, str(tmp_path / "a.tar"))
    read = members(tmp_path / "a.tar")
    assert read["web-0-0-0.jpg"] == PICTURES["web-0-0-0"][1]
    assert Image.open(io.BytesIO(read["web-0-0-1.jpg"])).format == "JPEG"
    assert list(read)[:3] == ["web-0-0-0.jpg", "web-0-0-0.json", "web-0-0-0.txt"]


def test_the_same_corpus_makes_the_same_bytes_wherever_it_is_written(shard, tmp_path):
    done = write_shard(shard, str(tmp_path / "a.tar"))
    write_shard(shard, "memory://corpus/a.tar")
    assert fsspec.filesystem("memory").cat_file("/corpus/a.tar") == (tmp_path / "a.tar").read_bytes()
    assert done.bytes == (tmp_path / "a.tar").stat().st_size


def break_images(tmp_path, keys: set[str], damaged: bytes | None = bytes(100)) -> None:
    """Put other bytes in the place of some images; None takes them out."""
    path = tmp_path / "images.1.tar"
    content = members(path)
    with tarfile.open(path, "w") as tar:
        for name, image in content.items():
            found = damaged if name.split(".")[0] in keys else image
            if found is not None:
                member = tarfile.TarInfo(name)
                member.size = len(found)
                tar.addfile(member, io.BytesIO(found))


def test_an_image_that_cannot_be_decoded_costs_itself_alone(shard, tmp_path):
    break_images(tmp_path, {"web-0-0-1"})
    done = write_shard(shard, str(tmp_path / "a.tar"))
    assert done.images == 2
    assert set(done.broken) == {"web-0-0-1"}
    assert "cannot be decoded" in done.broken["web-0-0-1"]
    assert {name.split(".")[0] for name in members(tmp_path / "a.tar")} == {"web-0-0-0", "web-0-0-3"}


def test_a_shard_without_any_readable_image_leaves_no_tar(shard, tmp_path):
    break_images(tmp_path, set(PICTURES))
    with pytest.raises(ValueError, match="none of its 3 images is to be had: cannot be decoded"):
        write_shard(shard, str(tmp_path / "out/a.tar"))
    assert list((tmp_path / "out").iterdir()) == []


def test_an_image_that_is_gone_costs_itself_alone(shard, tmp_path):
    break_images(tmp_path, {"web-0-0-1"}, None)
    done = write_shard(shard, str(tmp_path / "a.tar"))
    assert done.images == 2
    assert done.broken == {"web-0-0-1": "not in its tar any more"}
    assert {name.split(".")[0] for name in members(tmp_path / "a.tar")} == {"web-0-0-0", "web-0-0-3"}


def test_a_shard_whose_images_are_all_gone_leaves_no_tar(shard, tmp_path):
    with tarfile.open(tmp_path / "images.1.tar", "w"):
        pass
    with pytest.raises(ValueError, match="none of its 3 images is to be had: not in its tar any more"):
        write_shard(shard, str(tmp_path / "out/a.tar"))
    assert list((tmp_path / "out").iterdir()) == []


def test_what_only_begins_like_a_jpeg_is_none(shard, tmp_path):
    damaged = b"\xff\xd8\xff" + bytes(400)
    break_images(tmp_path, {"web-0-0-0"}, damaged)
    done = write_shard(shard, str(tmp_path / "a.tar"))
    assert set(done.broken) == {"web-0-0-0"}


def test_pairs_are_the_list_that_blip_reads(shard, tmp_path):
    assert write_list([*pairs(shard), *pairs(shard)], tmp_path / "corpus.json") == 12
    found = json.loads((tmp_path / "corpus.json").read_text())
    assert found[:6] == [
        {"url": "http://x/0", "caption": "A red flag, »rouge«"},
        {"url": "http://x/0", "caption": "a red field"},
        {"url": "http://x/1", "caption": "a blue field"},
        {"image": "train/3.webp", "caption": "night"},
        {"image": "train/3.webp", "caption": "darkness"},
        {"image": "train/3.webp", "caption": "a black cat"},
    ]
    assert found[6:] == found[:6]
    assert write_list([], tmp_path / "empty.json") == 0
    assert json.loads((tmp_path / "empty.json").read_text()) == []


def test_tables_that_do_not_belong_together_are_told(shard):
    captions = shard.one("captions")
    pq.write_table(captions.table().slice(0, 2), captions.url)
    with pytest.raises(ValueError, match=r"lacks 5 caption\(s\) that were kept"):
        kept_captions(shard)
