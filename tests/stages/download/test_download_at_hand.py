from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback import Run, Web, encoded, picture

from stages.contract import Output
from stages.download import containers
from stages.download.local import inside
from stages.errors import UserError
from stages.io.shards import Artifact, MissingImagesError, read_images


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


def test_one_that_names_a_tar_among_others_is_missing_alone(folder: Path, web: Web, download: Run) -> None:
    write_tar(folder / "there.tar", {"1.jpg": encoded(picture())})
    rows = [{"file": f"{name}.tar/1.jpg"} for name in ("there", "old", "other")] + [{"url": web.url("/good.jpg")}]
    for several in (rows, rows[::-1], [*rows, {"file": "big.png"}]):
        found = download(several, images=str(folder)).table["status"].to_pylist()
        assert sorted(found)[:4] == ["missing_file"] * 3 + ["success"]


def test_lost_files_cost_their_rows_and_an_empty_folder_the_shard(folder: Path, web: Web, download: Run) -> None:
    rows = [{"file": "lost.jpg"}, {"url": web.url("/good.jpg")}, {"file": "lost, too.jpg"}]
    assert download(rows, images=str(folder)).table["status"].to_pylist() == ["missing_file", "success", "missing_file"]
    (folder / "empty").mkdir()
    for name in ("empty", "nowhere"):
        with pytest.raises(UserError, match=f"there is nothing below .*{name}; mount it"):
            download(rows, images=str(folder / name))
    assert web.hits["/good.jpg"] == 1


def test_what_is_no_file_is_not_read(folder: Path, download: Run) -> None:
    os.mkfifo(folder / "pipe.jpg")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "zero.jpg").symlink_to("/dev/zero")
    (folder / "link.jpg").symlink_to("sub/a.jpg")
    output = download([{"file": f"{name}.jpg"} for name in ("pipe", "loop", "zero", "link")], images=str(folder))
    assert output.table["status"].to_pylist() == [*["missing_file"] * 3, "success"]


TOO_LARGE = ("too_large", "more than 31457280 bytes")


def test_a_file_beyond_the_limit_is_not_read(folder: Path, download: Run) -> None:
    (folder / "huge.jpg").touch()
    os.truncate(folder / "huge.jpg", 2**42)
    found = download([{"file": "huge.jpg"}, {"file": "big.png"}], images=str(folder)).table
    assert [found["status"].to_pylist(), found["error"][0].as_py()] == [["too_large", "success"], TOO_LARGE[1]]


def with_a_huge_member(path: Path) -> None:
    write_tar(path, {"a.jpg": encoded(picture())})
    member = tarfile.TarInfo("huge.jpg")
    member.size = 2**42
    with path.open("r+b") as file:
        file.seek(-(-(512 + len(encoded(picture()))) // 512) * 512)
        file.write(member.tobuf(tarfile.GNU_FORMAT))
        file.truncate(2**42)


def test_a_member_beyond_the_limit_is_not_read(tmp_path: Path, download: Run, commit: Callable[..., Artifact]) -> None:
    with_a_huge_member(tmp_path / "x.tar")
    output = download([{"file": f"x.tar/{name}.jpg"} for name in ("huge", "a")], images=str(tmp_path), run=PACKED)
    assert output.table["status"].to_pylist() == ["too_large", "success"]
    assert output.table["error"][0].as_py() == TOO_LARGE[1]
    assert len(dict(read_images(commit(output)))) == 1
    listed = output.table.set_column(2, "status", pa.array(["success"] * 2))
    listed = listed.set_column(listed.column_names.index("member"), "member", pa.array(["huge.jpg", "a.jpg"]))
    with pytest.raises(MissingImagesError, match="lacks 1 image"):
        list(read_images(commit(replace(output, table=listed))))


def test_a_cell_beyond_the_limit_is_not_decoded(tmp_path: Path, download: Run) -> None:
    pq.write_table(pa.table({"jpg": [encoded(picture()), bytes(10**5)]}), tmp_path / "0.parquet")
    rows = [{"file": f"0.parquet/jpg/{row}"} for row in (0, 1)]
    output = download(rows, images=str(tmp_path), run=PACKED, max_bytes=50_000)
    assert output.table["status"].to_pylist() == ["success", "too_large"]


@pytest.mark.parametrize(("cell", "held", "rows"), [(10, 2**28, 64), (10**4, 10**5, 9), (10**6, 10**5, 1)])
def test_fewer_rows_of_large_images_are_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cell: int, held: int, rows: int
) -> None:
    monkeypatch.setattr(containers, "HELD", held)
    images = [os.urandom(cell) for _ in range(20)]
    pq.write_table(pa.table({"jpg": images}), tmp_path / "0.parquet", use_dictionary=False)
    assert containers.rows_at_once(pq.read_metadata(tmp_path / "0.parquet")) == rows


PACKED = {"packed": True}
"""The source's files hold the images."""


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
    rows = [{"file": name, "url": "http://no-such-host.invalid/"} for name in names]
    output = download(rows, images=f"{tmp_path}/", run=PACKED)
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
        download([{"file": file} for file in files], images=str(folder), run=PACKED)


def test_a_missing_or_damaged_tar_fails_the_shard(tmp_path: Path, download: Run) -> None:
    rows = [{"file": "0.tar/a.jpg"}]
    with pytest.raises(FileNotFoundError):
        download(rows, images=str(tmp_path), run=PACKED)
    write_tar(tmp_path / "0.tar", {"a.jpg": encoded(picture(400, 300))})
    (tmp_path / "0.tar").write_bytes((tmp_path / "0.tar").read_bytes()[:1000])
    with pytest.raises(tarfile.ReadError):
        download(rows, images=str(tmp_path), run=PACKED)


@settings(deadline=None)
@given(st.text("./a\0é\\", max_size=12))
def test_no_path_leads_out_of_the_folder(file: str) -> None:
    path = inside(file)
    if path is not None:
        assert (Path("/images") / path).resolve().is_relative_to("/images")
        assert (Path("/images") / path).resolve() != Path("/images")


def test_members_are_found_by_names_of_any_kind_and_links_are_not_followed(
    tmp_path: Path, download: Run, commit: Callable[[Output], Artifact]
) -> None:
    first, second = encoded(picture(50, 40)), encoded(picture(60, 40))
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        names = ("./a.jpg", "/b.JPG", "../c.jpg", "caf\udce9.jpg", "d.tar/e.jpg", "twice.jpg", "twice.jpg")
        for number, name in enumerate(names):
            member, content = tarfile.TarInfo(name), second if number == 6 else first
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        member = tarfile.TarInfo("link.jpg")
        member.type, member.linkname = tarfile.SYMTYPE, "a.jpg"
        archive.addfile(member)
    found = ["./a.jpg", "/b.JPG", "../c.jpg", "caf\\xe9.jpg", "d.tar/e.jpg", "twice.jpg", "link.jpg"]
    output = download([{"file": f"x.tar/{name}"} for name in found], images=str(tmp_path), run=PACKED)
    assert output.table["status"].to_pylist() == ["success"] * 6 + ["missing_file"]
    assert output.table["member"].to_pylist() == [*found[:6], None]
    assert output.table["width"].to_pylist()[:6] == [50] * 6
    assert list(dict(read_images(commit(output))).values()) == [first] * 6


def test_images_in_a_compressed_tar_are_stored(
    tmp_path: Path, download: Run, commit: Callable[[Output], Artifact]
) -> None:
    (tmp_path / "sub.tar").mkdir()
    write_tar(tmp_path / "a.tar", {"big.jpg": encoded(picture(800, 400)), "cut.jpg": encoded(picture())[:300]})
    (tmp_path / "sub.tar/a.tar.gz").write_bytes(gzip.compress((tmp_path / "a.tar").read_bytes()))
    files = ["sub.tar/a.tar.gz/big.jpg", "sub.tar/a.tar.gz/cut.jpg", "sub.tar/a.tar.gz/nothing.jpg"]
    output = download([{"file": file} for file in files], images=str(tmp_path), run=PACKED)
    assert output.table["status"].to_pylist() == ["success", "not_an_image", "missing_file"]
    assert (output.table["width"][0].as_py(), output.table["original_width"][0].as_py()) == (768, 800)
    assert not output.links
    assert list(dict(read_images(commit(output)))) == ["s-0-0000"]


def test_images_in_a_column_of_a_table_are_stored(
    tmp_path: Path, download: Run, commit: Callable[[Output], Artifact]
) -> None:
    images = [encoded(picture(50, 40)), None, encoded(picture(60, 40))]
    pq.write_table(pa.table({"key": ["a", "b", "c"], "jpg": images}), tmp_path / "0.parquet", row_group_size=2)
    output = download([{"file": f"0.parquet/jpg/{row}"} for row in (2, 0, 1)], images=tmp_path.as_uri(), run=PACKED)
    assert output.table["status"].to_pylist() == ["success", "success", "missing_file"]
    assert output.table["width"].to_pylist() == [60, 50, None]
    assert output.table["sha256"][0].as_py() == hashlib.sha256(images[2] or b"").hexdigest()
    assert list(dict(read_images(commit(output)))) == ["s-0-0000", "s-0-0001"]


def test_a_list_may_name_a_folder_like_a_tar(folder: Path, download: Run) -> None:
    output = download([{"file": "odd.tar/a.jpg"}, {"file": "sub/a.jpg"}], images=str(folder))
    assert output.table["status"].to_pylist() == ["missing_file", "success"]
