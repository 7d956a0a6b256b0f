"""The corpus in other programs' formats, read with what they read it with."""

from __future__ import annotations

import io
import json
import tarfile

import fsspec
import pyarrow.parquet as pq
import pytest
import webdataset
from committed import write
from PIL import Image

from stages.contract import CorpusShard
from stages.corpus import kept_captions
from stages.export.pairs import write_pairs
from stages.export.tars import write_shard
from stages.tables import CAPTIONS, IMAGES, SELECT, URLS


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
CHOSEN = [  # key, candidate, caption, rank, kept
    ("web-0-0-0", 0, "IMG_1234", None, False),
    ("web-0-0-0", 1, "a red field", 2, True),
    ("web-0-0-0", 2, "A red flag, »rouge«", 1, True),
    ("web-0-0-1", 1, "a blue field", 1, True),
    ("web-0-0-2", 1, "a dog", 1, False),
    ("web-0-0-3", 1, "night", None, True),
    ("web-0-0-3", 2, "darkness", None, True),
    ("web-0-0-3", 3, "a black cat", None, True),
]


@pytest.fixture
def shard(tmp_path) -> CorpusShard:
    """Three images are kept; the last comes from people, whose captions have no rank."""
    with tarfile.open(tmp_path / "images.1.tar", "w") as tar:
        for key, (ending, content) in PICTURES.items():
            member = tarfile.TarInfo(f"{key}.{ending}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    addresses = {"web-0-0-0": "http://x/0", "web-0-0-1": "http://x/1", "web-0-0-2": "http://x/2"}
    urls = [{**dict.fromkeys(URLS.names), "key": key, "url": addresses.get(key), "source": "web"} for key in PICTURES]
    urls[3]["file"] = "train/3.webp"
    images = [
        {**dict.fromkeys(IMAGES.names), "retry": 0, "key": key, "status": "success", "member": f"{key}.{ending}"}
        for key, (ending, _) in PICTURES.items()
    ]
    said = [
        {"key": key, "candidate": number, "origin": "synthetic", "caption": caption, "logprob": None}
        for key, number, caption, _, _ in CHOSEN
    ]
    chosen = [
        {"key": key, "candidate": number, "rank": rank, "kept": kept, "reason": "kept" if kept else "outranked"}
        for key, number, _, rank, kept in reversed(CHOSEN)  # in no particular order
    ]
    tables = {
        "urls": write(tmp_path / "urls.parquet", urls, URLS),
        "download": write(tmp_path / "images.parquet", images, IMAGES, {"side.tar": "images.1.tar"}),
        "caption": write(tmp_path / "captions.parquet", said, CAPTIONS),
        "select": write(tmp_path / "select.parquet", chosen, SELECT),
    }
    return CorpusShard("web", "web-0-0", tables)


def test_lavis_pipeline_reads_the_images_with_their_ranked_captions(shard, tmp_path):
    """With the steps of LAVIS's LAION loader, but for its shuffling and its endless repetition."""
    assert write_shard(shard, str(tmp_path / "out/00000.tar")) == 3
    pipeline = webdataset.DataPipeline(
        webdataset.SimpleShardList(str(tmp_path / "out/{00000..00000}.tar")),
        webdataset.tarfile_to_samples(),
        webdataset.decode("pilrgb"),
        webdataset.to_tuple("jpg", "json", "txt", "__key__"),
    )
    found = {key: (image, captions, best) for image, captions, best, key in pipeline}
    assert {key: captions for key, (_, captions, _) in found.items()} == {
        "web-0-0-0": ["A red flag, »rouge«", "a red field"],
        "web-0-0-1": ["a blue field", "a blue field"],
        "web-0-0-3": ["night", "darkness", "a black cat"],
    }
    assert found["web-0-0-0"][2] == "A red flag, »rouge«"
    assert found["web-0-0-1"][0].getpixel((5, 5))[2] > 240
    assert all(image.size == (40, 30) and image.mode == "RGB" for image, _, _ in found.values())


def test_a_jpeg_stays_as_it_is_and_others_become_one(shard, tmp_path):
    write_shard(shard, str(tmp_path / "a.tar"))
    with tarfile.open(tmp_path / "a.tar") as tar:
        read = {member.name: tar.extractfile(member).read() for member in tar}
    assert read["web-0-0-0.jpg"] == PICTURES["web-0-0-0"][1]
    assert Image.open(io.BytesIO(read["web-0-0-1.jpg"])).format == "JPEG"
    assert list(read)[:3] == ["web-0-0-0.jpg", "web-0-0-0.json", "web-0-0-0.txt"]


def test_the_same_corpus_makes_the_same_bytes_wherever_it_is_written(shard, tmp_path):
    write_shard(shard, str(tmp_path / "a.tar"))
    write_shard(shard, "memory://corpus/a.tar")
    assert fsspec.filesystem("memory").cat_file("/corpus/a.tar") == (tmp_path / "a.tar").read_bytes()


def test_an_image_that_is_gone_leaves_no_tar(shard, tmp_path):
    (tmp_path / "images.1.tar").write_bytes((tmp_path / "images.1.tar").read_bytes()[:1536] + bytes(10240))
    with pytest.raises(ValueError, match="lacks 3 image"):
        write_shard(shard, str(tmp_path / "out/a.tar"))
    assert list((tmp_path / "out").iterdir()) == []


def test_pairs_are_the_list_that_blip_reads(shard, tmp_path):
    assert write_pairs([shard, shard], str(tmp_path / "corpus.json")) == 12
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
    assert write_pairs([], "memory://corpus/empty.json") == 0
    assert json.loads(fsspec.filesystem("memory").cat_file("/corpus/empty.json")) == []


def test_tables_that_do_not_belong_together_are_told(shard):
    captions = shard.captions.table().slice(0, 2)
    pq.write_table(captions, shard.captions.url)
    with pytest.raises(ValueError, match=r"lacks 5 caption\(s\) that were kept"):
        kept_captions(shard)
