"""Tars of img2dataset and of anybody, and img2dataset's other folders: all images in them are taken, or told of."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.errors import UserError
from stages.tables import URLS
from stages.urls.compute import Urls
from stages.urls.damage import Damage
from stages.urls.known import Known
from stages.urls.parts import find_parts
from stages.urls.spec import UrlsRecipe, UrlsRun


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
    for _ in range(2):
        table = read(format="webdataset", path=str(tmp_path / "*.tar"), where="width > 99")
        assert table.column("file").to_pylist() == ["00000.tar/000000001.jpg", "00000.tar/000000003.jpg"]
        (tmp_path / "00000.parquet").unlink(missing_ok=True)  # the texts in the tar say the same


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
    def digest(folder: str, *, txt: bool) -> str:
        (tmp_path / folder).mkdir()
        write_shard(tmp_path / folder, 0, table=False, txt=txt)
        return find_parts("web", source(format="webdataset", path=str(tmp_path / folder)))[0].digest

    assert digest("a", txt=True) == digest("b", txt=True) != digest("c", txt=False)


Members = list[tuple[str | tarfile.TarInfo, bytes]]


def write_tar(path: Path, members: Members, mode: str = "w") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode, format=tarfile.GNU_FORMAT) as archive:  # type: ignore[call-overload]
        for name, content in members:
            member = tarfile.TarInfo(name) if isinstance(name, str) else name
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def of_kind(name: str, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, "a.jpg"
    return member


def rows(path: Path, source: Any, *columns: str) -> tuple[list[dict[str, Any]], Damage]:
    """The rows of one tar, by all columns that say something, and what of it was left out."""
    (part,) = find_parts("web", source(format="webdataset", path=str(path), keep=columns))
    damage = Damage(part.place)
    table = pa.concat_tables([table for _, table in Urls(UrlsRecipe(), UrlsRun())(part, damage, Known(part.file))])
    wanted = ["url", "text", "file", *(name for name in table.column_names if name not in URLS.names)]
    return [{k: v for k, v in row.items() if v is not None} for row in table.select(wanted).to_pylist()], damage


def test_files_of_a_sample_need_not_follow_one_another(tmp_path: Path, source: Any) -> None:
    images: Members = [(f"folder/{at}.jpg", b"image") for at in (3, 0, 2, 1)]
    texts: Members = [
        (f"folder/{at}.{kind}", b'{"url": "u"}' if kind == "json" else b"t%d" % at)
        for kind in ("json", "txt")
        for at in (1, 2, 3, 0)
    ]
    write_tar(tmp_path / "a.tar", [(of_kind("folder", tarfile.DIRTYPE), b""), *images, *texts])
    found, damage = rows(tmp_path / "a.tar", source)
    assert found == [{"url": "u", "text": f"t{at}", "file": f"a.tar/folder/{at}.jpg"} for at in (3, 0, 2, 1)]
    assert damage.words == ""


def test_every_file_of_a_tar_is_a_row_or_told(tmp_path: Path, source: Any) -> None:
    taken: Members = [("a.jpg", b"1"), ("/b.JPG", b"2"), ("../c.jpeg", b"3"), ("caf\udce9.webp", b"4")]
    told: Members = [
        ("a.jpg", b"again"),
        (of_kind("link.jpg", tarfile.SYMTYPE), b""),
        (of_kind("hard.jpg", tarfile.LNKTYPE), b""),
        (of_kind("device.jpg", tarfile.CHRTYPE), b""),
        ("._a.jpg", b"of a Mac"),
        ("a.mask.png", b"beside another"),
        ("alone.txt", b"without an image"),
        ("a.npy", b"something else"),
        ("README", b"something else"),
    ]
    write_tar(tmp_path / "x.tar", [*taken, *told, ("a.txt", b"a")])
    found, damage = rows(tmp_path / "x.tar", source)
    files = ["x.tar/a.jpg", "x.tar//b.JPG", "x.tar/../c.jpeg", "x.tar/caf\\xe9.webp"]
    assert [row["file"] for row in found] == files
    assert damage.counts == {"left_out": len(told)}
    assert damage.words.startswith(f"{tmp_path / 'x.tar'}: left out: 9 (first member 5: 'a.jpg' is there twice; ")


@pytest.mark.parametrize(
    ("json", "txt", "text", "told"),
    [
        (b'["best", "second"]', b"txt", "best", {}),
        (b'{"caption": "best", "captions": ["best", "second"], "scores": [0.3, 0.2]}', b"txt", "best", {}),
        (b'{"captions": [{"caption": "best", "clip_score": 0.3}, {"caption": "second"}]}', b"", "best", {}),
        (b'{"caption": ["best", "second"]}', b"txt", "best", {}),
        (b'"best"', b"txt", "best", {}),
        (b'{"caption": null}', b"txt", "txt", {}),
        (b'{"caption": null}', b"", None, {}),
        (b'{"caption": "cut \\ud83d short", "n": NaN}', b"", "cut \ufffd short", {"replaced"}),
        (b'{"caption": "whole \\ud83d\\ude00"}', b"", "whole \U0001f600", {}),
        (b"[[1, 2], [3]]", b"txt", "txt", {"emptied"}),
        (b"[" * 100_000, b"txt", "txt", {"emptied"}),
        (b"[" * 600 + b"]" * 600, b"txt", "txt", {"emptied"}),
        (b'{"caption": "a", "url": ["b"]}', b"txt", "a", {"emptied"}),
        (b'{"caption": "cut', b"caf\xe9 \0", "caf\ufffd \ufffd", {"emptied", "replaced"}),
        (b'{"caption": 1e', b"txt", "txt", {"emptied"}),
        (b"", "UTF-16 ü".encode("utf-16"), "UTF-16 ü", {"emptied"}),
    ],
)
def test_what_the_texts_of_a_sample_may_be(
    tmp_path: Path, source: Any, json: bytes, txt: bytes, text: str | None, told: set[str]
) -> None:
    write_tar(tmp_path / "a.tar", [("0.jpg", b""), ("0.json", json), ("0.txt", txt), ("1.jpg", b""), ("1.txt", b"one")])
    found, damage = rows(tmp_path / "a.tar", source, "caption")
    assert [row.get("text") for row in found] == [text, "one"]
    assert [row.get("list_caption") for row in found] == [text, "one"]
    assert damage.counts.keys() == set(told)


def test_ranked_captions_and_fields_can_be_kept(tmp_path: Path, source: Any) -> None:
    write_tar(
        tmp_path / "a.tar", [("0.json", b'["best", "second"]'), ("0.jpg", b""), ("1.jpg", b""), ("1.json", b"[]")]
    )
    found, damage = rows(tmp_path / "a.tar", source, "captions")
    assert found == [{"text": "best", "file": "a.tar/0.jpg", "captions": '["best", "second"]'}, {"file": "a.tar/1.jpg"}]
    assert damage.counts == {"emptied": 1}


@pytest.mark.parametrize("ending", [".tar.gz", ".tgz", ".tar.xz"])
def test_compressed_tars(tmp_path: Path, read: Any, ending: str) -> None:
    write_tar(
        tmp_path / f"0{ending}", [("0.jpg", b"i"), ("0.txt", b"text")], f"w:{'xz' if ending.endswith('xz') else 'gz'}"
    )
    table = read(format="webdataset", path=str(tmp_path))
    assert table.select(["text", "file"]).to_pylist() == [{"text": "text", "file": f"0{ending}/0.jpg"}]


@pytest.mark.parametrize(
    ("path", "files"),
    [
        ("data/{00000..00002}.tar", ["00000.tar/0.jpg", "00001.tar/0.jpg", "00002.tar/0.jpg"]),
        ("data/0000{2,0}.tar", ["00002.tar/0.jpg", "00000.tar/0.jpg"]),
        ("data/*/*.tar", ["linked/00000.tar/0.jpg", "x/00000.tar/0.jpg"]),
        ("data/x/**/*.tar", ["00000.tar/0.jpg", "y/00001.tar/0.jpg"]),
        (("data/x/y", "data/00001.tar"), ["x/y/00001.tar/0.jpg", "00001.tar/0.jpg"]),
        ("data/x/{y,.}/*.tar", ["y/00001.tar/0.jpg", "00000.tar/0.jpg"]),
    ],
)
def test_paths(tmp_path: Path, read: Any, monkeypatch: pytest.MonkeyPatch, path: Any, files: list[str]) -> None:
    for name in ("00000", "00001", "00002", "x/00000", "x/y/00001", "._00000", ".hidden/0", "x/._0"):
        write_tar(tmp_path / f"data/{name}.tar", [("0.jpg", b"i")])
    (tmp_path / "data/00000_stats.json").write_text("{}")
    (tmp_path / "data/linked").symlink_to(tmp_path / "data/x", target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    assert read(format="webdataset", path=path).column("file").to_pylist() == files


def test_a_table_that_does_not_fit_its_tar(tmp_path: Path, source: Any) -> None:
    write_shard(tmp_path, 0, table=True)
    whole = (tmp_path / "00000.parquet").read_bytes()
    kept = pq.read_table(tmp_path / "00000.parquet").slice(1)
    pq.write_table(kept, tmp_path / "00000.parquet")
    found, damage = rows(tmp_path / "00000.tar", source)
    assert [row["file"] for row in found] == ["00000.tar/000000001.jpg", "00000.tar/000000003.jpg"]
    assert damage.counts == {"left_out": 1}
    assert "'000000000.jpg' is an image that the table does not list" in damage.words

    write_shard(tmp_path, 1, table=False)
    (tmp_path / "00001.parquet").write_bytes(whole)
    with pytest.raises(UserError, match=r"00001\.parquet lists none of the images in .*00001\.tar"):
        rows(tmp_path / "00001.tar", source)
    (tmp_path / "00001.parquet").write_bytes(whole[:-1])
    with pytest.raises(UserError, match=r"/00001\.parquet is no complete .*; without this table the tar is read alone"):
        rows(tmp_path / "00001.tar", source)
    (tmp_path / "00001.parquet").write_bytes(whole)
    (tmp_path / "00001.tar").write_bytes(b"cut off")
    with pytest.raises(UserError, match=r"/00001\.tar cannot be read: its end is missing"):
        rows(tmp_path / "00001.tar", source)
    (tmp_path / "00001.tar").unlink()
    with pytest.raises(UserError, match=r"00001\.parquet has no images: .* a tar or a folder of its name"):
        rows(tmp_path / "00001.parquet", source)


def test_a_tar_that_was_packed_anew_still_fits_its_table(tmp_path: Path, source: Any) -> None:
    write_shard(tmp_path, 0, table=True)
    keys = ("000000003", "000000000", "000000001")
    write_tar(tmp_path / "00000.tar", [(f"./0/{key}.jpeg", b"i") for key in keys])
    found, damage = rows(tmp_path / "00000.tar", source)
    assert [row["file"] for row in found] == [f"00000.tar/./0/{key}.jpeg" for key in sorted(keys)]
    assert damage.words == ""


@pytest.mark.parametrize("form", ["webdataset", "files", "parquet"])
def test_what_img2datasets_own_writers_write(tmp_path: Path, read: Any, form: str) -> None:
    from img2dataset import writer

    make = {
        "webdataset": writer.WebDatasetSampleWriter,
        "files": writer.FilesSampleWriter,
        "parquet": writer.ParquetSampleWriter,
    }[form]
    schema = pa.schema([(name, pa.string()) for name in ("key", "url", "caption", "status", "NSFW")])
    for shard in (0, 1):
        written = make(shard, str(tmp_path), True, 5, schema, "webp")
        for at in range(3):
            key, status = f"{shard:05d}{at:04d}", "success" if at != 1 else "failed_to_download"
            fields = {"key": key, "url": f"u{key}", "caption": f"c{key}", "status": status, "NSFW": "NO"}
            written.write(b"image" if at != 1 else None, key, fields["caption"], fields)
        written.close()
        (tmp_path / f"{shard:05d}_stats.json").write_text("{}")
    table = read(format="webdataset", path=str(tmp_path), keep=("NSFW",))
    keys = [f"{shard:05d}000{at}" for shard in (0, 1) for at in (0, 2)]
    file = {
        "webdataset": "{0}.tar/{1}.webp",
        "files": "{0}/{1}.webp",
        "parquet": "{0}.parquet/webp/{2}",
    }[form]
    assert table.select(["url", "text", "file", "NSFW"]).to_pylist() == [
        {"url": f"u{key}", "text": f"c{key}", "file": file.format(key[:5], key, int(key[5:])), "NSFW": "NO"}
        for key in keys
    ]


def test_tfrecords_and_ranges_with_gaps_are_refused_in_words(tmp_path: Path, source: Any) -> None:
    write_shard(tmp_path, 0, table=True)
    with pytest.raises(UserError, match=r"2 of its 3 files are not there, .*/00001\.tar first"):
        find_parts("web", source(format="webdataset", path=f"{tmp_path}/{{00000..00002}}.tar"))
    with pytest.raises(UserError, match="names 10,000,000 files"):
        find_parts("web", source(format="webdataset", path=f"{tmp_path}/{{0000000..9999999}}.tar"))
    (tmp_path / "00000.tfrecord").touch()
    with pytest.raises(UserError, match=r"00000\.tfrecord is a TFRecord, which is not read"):
        find_parts("web", source(format="webdataset", path=str(tmp_path)))
