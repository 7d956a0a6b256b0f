"""Which files a source has, in which order, and what identifies them."""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.errors import UserError
from stages.urls.keys import file_id
from stages.urls.parts import find_parts
from stages.urls.spec import SPEC, CsvSource


def write(path: Path, *texts: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"URL": ["http://a.com/1.jpg"] * len(texts), "TEXT": list(texts)}), path)
    return path


def test_order_names_and_no_file_twice(tmp_path: Path, source: Any) -> None:
    for name in ("b", "a", "c"):
        write(tmp_path / f"{name}.parquet", name)
    (tmp_path / "d.parquet").mkdir()
    entries = (str(tmp_path / "c.parquet"), str(tmp_path / "*.parquet"))
    parts = find_parts("laion", source(format="laion", path=entries))
    assert [Path(part.files[0]).stem for part in parts] == ["c", "a", "b"]
    assert [part.file for part in parts] == [file_id("laion", f"{name}.parquet") for name in "cab"]
    assert {part.source_name for part in parts} == {"laion"}
    assert pickle.loads(pickle.dumps(parts)) == parts


def test_paths_are_relative_to_the_working_folder(tmp_path: Path, source: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "data" / "odd [1] name.parquet", "a")
    monkeypatch.chdir(tmp_path)
    (part,) = find_parts("laion", source(format="laion", path="data/odd [1] name.parquet"))
    assert part.files == (str(path),)


@pytest.mark.parametrize(("form", "name"), [("laion", "a.parquet"), ("csv", "a.csv")])
def test_the_digest_follows_the_content_not_the_path(tmp_path: Path, source: Any, form: str, name: str) -> None:
    def digest(folder: str, text: str) -> str:
        path = tmp_path / folder / name
        write(path, text)
        if form == "csv":
            path.write_text(f"URL,TEXT\nx,{text}\n", encoding="utf-8")
        return find_parts("web", source(format=form, path=str(path)))[0].digest

    assert digest("one", "a") == digest("two", "a") != digest("three", "b")


@pytest.mark.parametrize("form", ["laion", "cc3m", "csv"])
def test_another_filesystem(read: Any, form: str) -> None:
    memory = fsspec.filesystem("memory")
    contents = {
        "cc3m": gzip.compress(b"one\thttp://a.com/1.jpg\n"),
        "csv": gzip.compress(b"URL,TEXT\nhttp://a.com/1.jpg,one\n"),
    }
    with memory.open(f"/urls/{form}/a.gz", "wb") as file:
        if form == "laion":
            pq.write_table(pa.table({"URL": ["http://a.com/1.jpg"], "TEXT": ["one"]}), file)
        else:
            file.write(contents[form])
    for path in (f"memory://urls/{form}/a.gz", f"memory://urls/{form}/*"):
        table = read(format=form, path=path)
        assert table.select(["url", "text"]).to_pylist() == [{"url": "http://a.com/1.jpg", "text": "one"}]


def test_identity_leaves_out_where_things_lie(source: Any) -> None:
    def identity(**settings: Any) -> Any:
        return source(**({"format": "coco", "path": "a.json", "images": "x"} | settings)).identity()

    assert identity() == identity(path=("b.json", "c.json"), images="s3://bucket/coco")
    assert identity() == identity(splits=("val",), where="cocoid > 1")  # which rows there are, a listing says
    different = [{"keep": ("cocoid",)}, {"images": "https://a.com"}]
    assert all(identity() != identity(**settings) for settings in different)


def test_images_root(source: Any) -> None:
    def root(**settings: Any) -> Any:
        return source(**settings).images_root

    assert root(format="vg", path="a.json", images="data/vg") == "data/vg"
    assert root(format="vg", path="a.json", images="https://a.com/vg") is None
    assert root(format="laion", path="a.parquet") is None
    assert root(format="webdataset", path="s3://bucket/cc3m/") == "s3://bucket/cc3m"
    assert root(format="webdataset", path=("out/00000.tar", "out/00001*.tar")) == "out"
    assert root(format="webdataset", path="00000.tar") == "."


def test_spec_names_its_compute() -> None:
    from stages.urls.compute import Urls

    assert SPEC.compute == f"{Urls.__module__}:{Urls.__name__}"


@pytest.mark.parametrize("path", ["nothing/*.parquet", "nothing.parquet", "memory://nothing/*"])
def test_no_match(source: Any, path: str) -> None:
    with pytest.raises(UserError, match=r"source laion: no file matches .*nothing"):
        find_parts("laion", source(format="laion", path=path))


def test_a_partner_that_is_missing(tmp_path: Path, source: Any) -> None:
    (tmp_path / "x_urls.txt").touch()
    with pytest.raises(UserError, match=r"source sbu: .*x_urls\.txt has no x_captions\.txt beside it"):
        find_parts("sbu", source(format="sbu", path=str(tmp_path / "x_urls.txt")))
    (tmp_path / "x_captions.txt").touch()
    with pytest.raises(UserError, match=r"x_captions\.txt is no list of urls"):
        find_parts("sbu", source(format="sbu", path=str(tmp_path / "*.txt")))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"format": "cc3m", "path": "."}, r"\. is a folder; name the files in it"),
        ({"format": "csv", "path": "nope://x"}, r"nope://x: .*[Pp]rotocol"),
        (
            {"format": "csv", "path": "s3://b/a?versionId=c.csv"},
            "is taken for a version by the driver; rename the file",
        ),
        (
            {"format": "csv", "path": "{1..1000}{1..1000}{1..1000}.csv"},
            r"names more than 1,000,000 files; correct",
        ),
        ({"format": "webdataset", "path": "pyproject.toml"}, "is no .tar; let `path` name the tars"),
    ],
)
def test_other_mistakes_in_a_path(source: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_parts("web", source(**settings))


def test_a_footer_that_is_said_to_be_longer_than_its_file_is_not_read(tmp_path: Path, source: Any) -> None:
    path = tmp_path / "a.parquet"
    for length in (2**32 - 1, 93):
        path.write_bytes(b"PAR1" + bytes(92) + length.to_bytes(4, "little") + b"PAR1")
        (part,) = find_parts("web", source(format="laion", path=str(path)))
        assert part.broken == f"{path} is no complete Parquet file: its footer is longer than it; fetch it anew"
    path.write_bytes(b"PAR1" + bytes(92) + (92).to_bytes(4, "little") + b"PAR1")
    assert find_parts("web", source(format="laion", path=str(path)))[0].broken == ""


def test_no_two_files_have_one_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What begins the keys of a file's rows is short: among very many files two names have the same hash."""
    monkeypatch.setattr("stages.urls.parts.file_id", lambda source, name: f"{source}-{len(name) % 3}")
    for name in ("a.csv", "b.csv", "cc.csv"):
        (tmp_path / name).write_text("URL,TEXT\nhttp://h/1,x\n")
    parts = find_parts("web", CsvSource(format="csv", path=str(tmp_path / "*.csv")))
    assert len({part.file for part in parts}) == 3
