from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback import Run, Web, encoded, picture

from stages.contract import Output
from stages.download.local import inside
from stages.shards import Artifact, read_images


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "images"
    (images / "sub").mkdir(parents=True)
    (images / "sub" / "a.jpg").write_bytes(encoded(picture()))
    (images / "big.png").write_bytes(encoded(picture(800, 400), "PNG"))
    (images / "cut.jpg").write_bytes(encoded(picture())[:300])
    (tmp_path / "secret.jpg").write_bytes(encoded(picture()))
    return images


def test_local_images_are_read_and_fitted(folder: Path, download: Run, commit: Callable[[Output], Artifact]) -> None:
    files = [
        "sub/a.jpg",
        "big.png",
        "cut.jpg",
        "nothing.jpg",
        "sub",
        "../secret.jpg",
        str(folder / "big.png"),
        "x" * 999,
    ]
    output = download([{"file": name, "text": name} for name in files], images=str(folder))
    assert output.table["status"].to_pylist() == ["success", "success", "not_an_image", *["missing_file"] * 5]
    first, second = output.table.to_pylist()[:2]
    assert first["sha256"] == hashlib.sha256((folder / "sub" / "a.jpg").read_bytes()).hexdigest()
    assert (second["width"], second["height"], second["original_width"]) == (768, 384, 800)
    assert list(dict(read_images(commit(output)))) == ["s-0-0000", "s-0-0001"]


def test_more_rows_than_a_batch_keep_their_order(folder: Path, download: Run) -> None:
    rows = [{"file": "sub/a.jpg" if i % 3 else "nothing.jpg"} for i in range(100)]
    first, second = download(rows, images=folder.as_uri()), download(rows, images=str(folder))
    assert first.table.equals(second.table)
    assert first.sides["tar"].read_bytes() == second.sides["tar"].read_bytes()


def test_rows_without_a_file_come_from_the_web(folder: Path, web: Web, download: Run) -> None:
    rows = [{"url": web.url("/good.jpg")}, {"file": "big.png", "url": web.url("/never")}, {"url": web.url("/500")}]
    output = download(rows, images=str(folder))
    assert output.table["status"].to_pylist() == ["success", "success", "http_5xx"]
    assert not web.hits["/never"]


def test_a_file_without_an_images_folder_is_fetched_by_its_url(web: Web, download: Run) -> None:
    output = download([{"file": "a.jpg", "url": web.url("/good.jpg")}, {"file": "a.jpg"}])
    assert output.table["status"].to_pylist() == ["success", "invalid_url"]


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def test_images_in_an_existing_tar_stay_there(
    tmp_path: Path, download: Run, commit: Callable[[Output], Artifact]
) -> None:
    good, cut = encoded(picture(50, 40)), encoded(picture())[:300]
    write_tar(tmp_path / "00007.tar", {"b.jpg": good, "b.txt": b"text", "cut.jpg": cut, "a.jpg": good})
    names = ["00007.tar/a.jpg", "00007.tar/nothing.jpg", "00007.tar/cut.jpg", None, "00007.tar/b.jpg"]
    output = download([{"file": name, "url": "http://no-such-host.invalid/"} for name in names], images=f"{tmp_path}/")
    expected = ["success", "missing_file", "not_an_image", "missing_file", "success"]
    assert output.table["status"].to_pylist() == expected
    assert output.table["member"].to_pylist() == ["a.jpg", None, None, None, "b.jpg"]
    first = output.table.to_pylist()[0]
    assert (first["width"], first["height"], first["sha256"]) == (50, 40, hashlib.sha256(good).hexdigest())
    assert output.sides == {}
    assert output.links == {"tar": (tmp_path / "00007.tar").as_uri()}
    assert dict(read_images(commit(output))) == {"s-0-0000": good, "s-0-0004": good}


@pytest.mark.parametrize("files", [["0.tar/a", "1.tar/a"], ["../0.tar/a"]])
def test_a_shard_lies_in_one_tar(files: list[str], folder: Path, download: Run) -> None:
    write_tar(folder.parent / "0.tar", {"a": encoded(picture())})
    with pytest.raises(ValueError, match="one tar of the images folder"):
        download([{"file": file} for file in files], images=str(folder))


def test_a_missing_or_damaged_tar_fails_the_shard(tmp_path: Path, download: Run) -> None:
    rows = [{"file": "0.tar/a.jpg"}]
    with pytest.raises(FileNotFoundError):
        download(rows, images=str(tmp_path))
    write_tar(tmp_path / "0.tar", {"a.jpg": encoded(picture(400, 300))})
    (tmp_path / "0.tar").write_bytes((tmp_path / "0.tar").read_bytes()[:1000])
    with pytest.raises(tarfile.ReadError):
        download(rows, images=str(tmp_path))


@settings(deadline=None)
@given(st.text("./a\0é\\", max_size=12))
def test_no_path_leads_out_of_the_folder(file: str) -> None:
    path = inside(file)
    if path is not None:
        assert (Path("/images") / path).resolve().is_relative_to("/images")
        assert (Path("/images") / path).resolve() != Path("/images")
