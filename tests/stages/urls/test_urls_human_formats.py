"""COCO and Visual Genome: one row an image, all its captions in `texts`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

CAPTIONS = {1: [" A man with a red helmet. ", "", "A man on a moped."], 2: ["A zebra — 斑马."], 3: ["Held out."], 4: []}
KARPATHY = {
    "images": [
        {
            "filepath": folder,
            "sentids": [],
            "filename": f"COCO_{folder}_{number:012d}.jpg",
            "imgid": number,
            "split": split,
            "sentences": [{"tokens": [], "raw": raw, "imgid": number, "sentid": 0} for raw in CAPTIONS[number]],
            "cocoid": number,
        }
        for number, folder, split in (
            (1, "val2014", "restval"),
            (2, "train2014", "train"),
            (3, "val2014", "test"),
            (4, "train2014", "train"),
        )
    ],
    "dataset": "coco",
}
FIRST = {"text": "A man with a red helmet.", "texts": ["A man with a red helmet.", "A man on a moped."]}


@pytest.fixture
def karpathy(tmp_path: Path) -> str:
    path = tmp_path / "dataset_coco.json"
    path.write_text(json.dumps(KARPATHY), encoding="utf-8")
    return str(path)


def test_karpathy(karpathy: str, read: Any) -> None:
    table = read(format="coco", path=karpathy, images="coco/images", keep=("cocoid", "split"))
    columns = ["url", "file", "text", "texts", "cocoid", "split"]
    train = "train2014/COCO_train2014_00000000000"
    assert table.select(columns).to_pylist() == [
        {"url": None, "file": "val2014/COCO_val2014_000000000001.jpg", "cocoid": 1, "split": "restval"} | FIRST,
        {"url": None, "file": f"{train}2.jpg", "cocoid": 2, "split": "train", "text": "A zebra — 斑马."}
        | {"texts": ["A zebra — 斑马."]},
        {"url": None, "file": f"{train}4.jpg", "cocoid": 4, "split": "train", "text": None, "texts": []},
    ]


def test_karpathy_splits_and_where(karpathy: str, read: Any) -> None:
    table = read(format="coco", path=karpathy, images="coco", splits=("test", "train"), where="cocoid > 2")
    assert table.column("text").to_pylist() == ["Held out.", None]


def test_karpathys_flickr30k(tmp_path: Path, read: Any) -> None:
    images = [
        {"imgid": number, "split": split, "filename": f"{number}.jpg", "sentences": [{"raw": f"{split} {number}"}]}
        for number, split in enumerate(("train", "val", "test"))
    ]
    path = tmp_path / "dataset_flickr30k.json"
    path.write_text(json.dumps({"dataset": "flickr30k", "images": images}))
    table = read(format="coco", path=str(path), images="flickr", splits=("test",))
    assert table.select(["file", "texts"]).to_pylist() == [{"file": "2.jpg", "texts": ["test 2"]}]


def test_nocaps_carries_its_numbers_and_parts(tmp_path: Path, read: Any) -> None:
    domains = ("in-domain", "near-domain", "out-domain")
    images = [
        {"id": number, "open_images_id": f"00{number}", "domain": domain, "file_name": f"00{number}.jpg", "license": 0}
        for number, domain in enumerate(domains)
    ]
    annotations = [
        {"image_id": number % 3, "id": number, "caption": f"{number} people. "} for number in (5, 0, 1, 2, 3, 4)
    ]
    path = tmp_path / "nocaps_val_4500_captions.json"
    path.write_text(json.dumps({"licenses": [], "info": {}, "images": images, "annotations": annotations}))
    table = read(format="nocaps", path=str(path), images="nocaps/val")
    assert table.select(["file", "texts", "id", "domain"]).to_pylist() == [
        {"file": "000.jpg", "texts": ["0 people.", "3 people."], "id": 0, "domain": "in-domain"},
        {"file": "001.jpg", "texts": ["1 people.", "4 people."], "id": 1, "domain": "near-domain"},
        {"file": "002.jpg", "texts": ["5 people.", "2 people."], "id": 2, "domain": "out-domain"},
    ]
    out = read(
        format="nocaps", path=str(path), images="nocaps/val", where="domain = 'out-domain'", keep=("open_images_id",)
    )
    assert out.select(["file", "open_images_id"]).to_pylist() == [{"file": "002.jpg", "open_images_id": "002"}]


def test_images_on_the_web_become_urls(karpathy: str, read: Any) -> None:
    table = read(format="coco", path=karpathy, images="https://images.cocodataset.org/", splits=("test",))
    assert table.column("file").to_pylist() == [None]
    expected = "https://images.cocodataset.org/val2014/COCO_val2014_000000000003.jpg"
    assert table.column("url").to_pylist() == [expected]


def test_lists_of_pairs_are_grouped_by_image(tmp_path: Path, read: Any) -> None:
    image = "val2014/COCO_val2014_000000522418.jpg"
    train = [
        {"caption": "A woman cutting a cake. ", "image": image, "image_id": "coco_522418"},
        {"caption": "A zebra.", "image": "train2014/b.jpg", "image_id": "coco_2"},
        {"caption": "A woman with a knife.", "image": image, "image_id": "coco_522418"},
    ]
    val = [{"image": "val2014/c.jpg", "caption": ["one ", "two"]}]
    for name, pairs in (("train", train), ("val", val)):
        (tmp_path / f"coco_karpathy_{name}.json").write_text(json.dumps(pairs, indent=1), encoding="utf-8")
    table = read(format="coco", path=str(tmp_path / "*.json"), images="coco", keep=("image_id",))
    assert table.select(["file", "texts", "image_id"]).to_pylist() == [
        {"file": image, "texts": ["A woman cutting a cake.", "A woman with a knife."], "image_id": "coco_522418"},
        {"file": "train2014/b.jpg", "texts": ["A zebra."], "image_id": "coco_2"},
        {"file": "val2014/c.jpg", "texts": ["one", "two"], "image_id": None},
    ]
    files = [key.split("-")[1] for key in table.column("key").to_pylist()]
    assert files[0] == files[1] != files[2]


@pytest.fixture
def genome(tmp_path: Path) -> Path:
    for name in ("VG_100K/1.jpg", "VG_100K_2/2.jpg", "3.jpg"):
        path = tmp_path / "vg" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def test_region_descriptions(genome: Path, read: Any) -> None:
    regions = [
        {
            "id": number,
            "regions": [
                {
                    "region_id": at,
                    "width": 9,
                    "height": 9,
                    "image_id": number,
                    "x": 0,
                    "y": 0,
                    "phrase": f"{at} of {number} ",
                }
                for at in range(2)
            ],
        }
        for number in (1, 2, 3, 4)
    ]
    (genome / "region_descriptions.json").write_text(json.dumps(regions), encoding="utf-8")
    path = str(genome / "region_descriptions.json")
    table = read(format="vg", path=path, images=str(genome / "vg"), keep=("image_id",))
    assert table.column("file").to_pylist() == ["VG_100K/1.jpg", "VG_100K_2/2.jpg", "3.jpg", "VG_100K/4.jpg"]
    assert table.column("texts").to_pylist() == [[f"0 of {number}", f"1 of {number}"] for number in (1, 2, 3, 4)]
    assert table.column("image_id").to_pylist() == [1, 2, 3, 4]


def test_genome_pairs_forget_their_authors_folders(genome: Path, read: Any) -> None:
    pairs = [
        {"image": "/export/share/datasets/vg/image/2.jpg", "caption": "a"},
        {"image": "VG_100K/9.jpg", "caption": "b"},
        {"image": "/export/share/datasets/vg/image/2.jpg", "caption": "c"},
    ]
    (genome / "vg_caption.json").write_text(json.dumps(pairs), encoding="utf-8")
    table = read(format="vg", path=str(genome / "vg_caption.json"), images=str(genome / "vg"))
    assert table.select(["file", "texts"]).to_pylist() == [
        {"file": "VG_100K_2/2.jpg", "texts": ["a", "c"]},
        {"file": "VG_100K/9.jpg", "texts": ["b"]},
    ]


RELEASED = {
    "info": {"year": 2017},
    "licenses": [{"url": "http://x", "id": 1}],
    "images": [
        {"id": number, "file_name": f"{number:012d}.jpg", "coco_url": f"http://x/{number}", "width": 640, "license": 1}
        for number in (9, 25, 30)
    ],
    "annotations": [
        {"image_id": image, "id": number, "caption": caption}
        for number, (image, caption) in enumerate([(25, "A giraffe. "), (9, "Food."), (25, "Two."), (77, "Lost.")])
    ],
}


@pytest.mark.parametrize("keys", [list(RELEASED), ["annotations", "images"]])
def test_captions_as_released(tmp_path: Path, read_damaged: Any, keys: list[str]) -> None:
    path = tmp_path / "captions_val2017.json"
    path.write_text(json.dumps({key: RELEASED[key] for key in keys}))
    table, damage = read_damaged(format="coco", path=str(path), images=".", keep=("id", "width"), where="license = 1")
    assert table.select(["file", "text", "texts", "id"]).to_pylist() == [
        {"file": "000000000009.jpg", "text": "Food.", "texts": ["Food."], "id": 9},
        {"file": "000000000025.jpg", "text": "A giraffe.", "texts": ["A giraffe.", "Two."], "id": 25},
        {"file": "000000000030.jpg", "text": None, "texts": [], "id": 30},
    ]
    assert damage.counts == {"left_out": 1}
    assert "an annotation of an image that is not in the list" in damage.words
