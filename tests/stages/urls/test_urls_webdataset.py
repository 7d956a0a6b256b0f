"""img2dataset's output folder: what was downloaded is taken as it is."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest


def write_shard(folder: Path, shard: int, *, table: bool, ending: str = "jpg", txt: bool = True) -> None:
    """Write a shard of four rows as img2dataset does; the third could not be downloaded."""
    rows = [
        {
            "url": f"http://a.com/{shard}/{at}.jpg",
            "caption": f'"{at}" ü',
            "key": f"{shard:05d}{at:04d}",
            "status": "failed_to_download" if at == 2 else "success",
            "error_message": "HTTP Error 404: Not Found" if at == 2 else None,
            "width": 100 * at,
            "NSFW": "UNLIKELY",
        }
        for at in range(4)
    ]
    with tarfile.open(folder / f"{shard:05d}.tar", "w") as archive:
        for row in rows:
            if row["status"] != "success":
                continue
            members = {ending: b"image", "json": json.dumps(row).encode()}
            if txt:
                members["txt"] = str(row["caption"]).encode()
            for kind, content in members.items():
                member = tarfile.TarInfo(f"{row['key']}.{kind}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    if table:
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{shard:05d}.parquet")


@pytest.mark.parametrize("table", [True, False])
@pytest.mark.parametrize("ending", ["jpg", "webp"])
def test_a_folder(tmp_path: Path, read: Any, source: Any, table: bool, ending: str) -> None:
    for shard in (0, 1):
        write_shard(tmp_path, shard, table=table, ending=ending)
    settings = {"format": "webdataset", "path": str(tmp_path), "keep": ("NSFW", "width")}
    found = read(**settings)
    assert found.column("file").to_pylist() == [
        f"{shard:05d}.tar/{shard:05d}000{at}.{ending}" for shard in (0, 1) for at in (0, 1, 3)
    ]
    assert found.column("url").to_pylist()[:2] == ["http://a.com/0/0.jpg", "http://a.com/0/1.jpg"]
    assert found.column("text").to_pylist()[:2] == ['"0" ü', '"1" ü']
    assert [int(width) for width in found.column("list_width").to_pylist()] == [0, 100, 300] * 2
    assert source(**settings).images_root == str(tmp_path)


def test_where(tmp_path: Path, read: Any) -> None:
    write_shard(tmp_path, 0, table=True)
    table = read(format="webdataset", path=str(tmp_path / "*.tar"), where="width > 0")
    assert table.column("file").to_pylist() == ["00000.tar/000000001.jpg", "00000.tar/000000003.jpg"]


def test_a_tar_of_images_and_texts_alone(tmp_path: Path, read: Any) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, content in {"x/1.txt": b"one\n", "x/1.jpg": b"i", "x/2.txt": b"no image", "x/3.png": b"i"}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    table = read(format="webdataset", path=str(tmp_path / "a.tar"))
    assert table.select(["url", "text", "file"]).to_pylist() == [
        {"url": None, "text": "one\n", "file": "a.tar/x/1.jpg"},
        {"url": None, "text": None, "file": "a.tar/x/3.png"},
    ]


def test_the_digest_of_a_tar_without_a_table_is_its_index(tmp_path: Path, source: Any) -> None:
    from stages.urls.parts import find_parts

    def digest(folder: str, *, txt: bool) -> str:
        (tmp_path / folder).mkdir()
        write_shard(tmp_path / folder, 0, table=False, txt=txt)
        return find_parts("web", source(format="webdataset", path=str(tmp_path / folder)))[0].digest

    assert digest("a", txt=True) == digest("b", txt=True) != digest("c", txt=False)
