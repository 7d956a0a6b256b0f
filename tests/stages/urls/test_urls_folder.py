"""The folder of a list's images is the wrong one if none of many is there; where some are, the others are lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stages.errors import UserError
from stages.urls import folder
from stages.urls.folder import _is_one_there
from stages.urls.parts import find_parts


@pytest.fixture(autouse=True)
def _look(_images_are_there: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(folder, "_is_one_there", _is_one_there)
    (tmp_path / "images").mkdir()


def rows_of(tmp_path: Path, read: Any, *names: str, images: str = "images", **entry: str) -> int:
    entries = [{"image": name, "caption": "a", **entry} for name in names]
    (tmp_path / "a.json").write_text(json.dumps(entries))
    return int(read(format="json", path=str(tmp_path / "a.json"), images=str(tmp_path / images)).num_rows)


def test_a_folder_without_one_of_a_lists_images_is_told(tmp_path: Path, read: Any, monkeypatch: Any) -> None:
    names = [f"{number}.jpg" for number in range(40)]
    with pytest.raises(UserError, match=r"^not one of 40 images lies below .*images, 0\.jpg for instance; correct the"):
        rows_of(tmp_path, read, *names)
    (tmp_path / "images/39.jpg").touch()
    assert rows_of(tmp_path, read, *names) == 40
    monkeypatch.setattr(folder, "ENOUGH", 20)
    with pytest.raises(UserError, match="not one of 20 images lies below"):
        rows_of(tmp_path, read, *names)
    assert rows_of(tmp_path, read, "39.jpg/odd", "a\0b", "x" * 999, "39.jpg") == 4


def test_one_image_or_rows_with_an_address_say_nothing_of_the_folder(tmp_path: Path, read: Any) -> None:
    assert rows_of(tmp_path, read, "lost.jpg") == 1
    assert rows_of(tmp_path, read, "a.tar/lost.jpg", "b.jpg", url="http://a.com/1.jpg") == 2


def test_a_worker_in_another_folder_finds_it(tmp_path: Path, source: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.json").write_text("[]")
    for form in ("coco", "vg"):
        (part,) = find_parts("web", source(format=form, path="a.json", images="images"))
        assert part.source.images_root == str(tmp_path / "images")
    (part,) = find_parts("web", source(format="coco", path="a.json", images="https://a.com/x"))
    assert part.source.images_root is None
