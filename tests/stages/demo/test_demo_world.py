"""A world is complete or not there, is written once, and its parts agree with each other."""

import json

import pandas as pd
import pytest
from PIL import Image

from stages.demo import world as worlds
from stages.demo.language import is_right
from stages.demo.scene import Scene
from stages.demo.world import read_parameters, write

BASE = "http://127.0.0.1:8765"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write(tmp_path_factory.mktemp("demo") / "world", images=40, human=20, seed=4, base_url=f"{BASE}/")


def test_the_web_list_has_laions_columns(world):
    table = pd.read_parquet(world.web_list)
    assert list(table) == ["SAMPLE_ID", "URL", "TEXT", "HEIGHT", "WIDTH", "LICENSE", "NSFW", "similarity"]
    assert len(table) == table.URL.nunique() == 40
    assert table.URL.str.fullmatch(rf"{BASE}/images/\d{{8}}\.(jpg|png|webp)").all()


def test_the_human_list_is_cocos_and_its_files_are_there(world):
    listed = json.loads(world.human_list.read_text())["images"]
    assert [image["split"] for image in listed[:10]] == ["train"] * 7 + ["restval", "val", "test"]
    for image in listed:
        assert len(image["sentences"]) == 5
        assert {"filepath", "filename", "cocoid"} <= set(image)
        with Image.open(world.human_images / image["filename"]) as picture:
            picture.load()


def test_the_truth_knows_every_text(world):
    truth = pd.read_parquet(world.truth)
    listed = pd.read_parquet(world.web_list)
    web = truth[truth.url.notna()]
    assert dict(zip(web.url, web.text, strict=True)) == dict(zip(listed.URL, listed.TEXT, strict=True))
    assert len(truth[truth.kind == "human"]) == 20 * 5
    assert truth[truth.kind == "human"].text_right.all()
    for row in truth.itertuples():
        assert is_right(row.text, Scene.from_json(json.loads(row.scene))) == row.text_right


def test_a_larger_world_contains_the_smaller_one(world, tmp_path):
    larger = write(tmp_path / "world", images=50, human=0, seed=4, base_url=BASE)
    pd.testing.assert_frame_equal(pd.read_parquet(larger.web_list)[:40], pd.read_parquet(world.web_list))


def test_a_finished_world_is_left_alone_and_another_one_replaces_it(tmp_path):
    first = write(tmp_path / "world", images=3, human=1, seed=0, base_url=BASE)
    before = first.truth.stat().st_mtime_ns
    write(tmp_path / "world", images=3, human=1, seed=0, base_url=BASE)
    assert first.truth.stat().st_mtime_ns == before
    write(tmp_path / "world", images=4, human=1, seed=0, base_url=BASE)
    assert len(pd.read_parquet(first.web_list)) == 4
    assert read_parameters(first.folder).images == 4


def test_pictures_to_measure_on_come_behind_the_others(tmp_path):
    found = write(tmp_path / "world", images=0, human=20, measured=5, seed=4, base_url=BASE)
    splits = [image["split"] for image in json.loads(found.human_list.read_text())["images"]]
    assert splits[:20] == (["train"] * 7 + ["restval", "val", "test"]) * 2
    assert splits[20:] == ["test"] * 5


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError("no space left")

    monkeypatch.setattr(worlds, "human_rows", full_disk)
    with pytest.raises(OSError, match="no space"):
        write(tmp_path / "world", images=3, human=1, seed=0, base_url=BASE)
    assert list(tmp_path.iterdir()) == []


def test_somebody_elses_folder_is_not_touched(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="something else"):
        write(tmp_path, images=1, human=0, seed=0, base_url=BASE)
    assert (tmp_path / "thesis.txt").exists()


def test_an_unfinished_world_has_no_parameters(tmp_path):
    with pytest.raises(FileNotFoundError, match="write one first"):
        read_parameters(tmp_path)
