"""What a file is, is told by its first bytes: how it is packed, in which encoding, and how it ends its lines."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from stages.errors import BrokenFileError, UserError
from stages.urls.check import check
from stages.urls.compute import Urls
from stages.urls.damage import Damage
from stages.urls.known import Known
from stages.urls.parts import find_parts
from stages.urls.spec import UrlsRecipe, UrlsRun

LIST = "URL,TEXT\nhttp://a.com/1.jpg,ünï 🍕\n"


def zstd(content: bytes) -> bytes:
    return bytes(pa.compress(content, codec="zstd", asbytes=True))


def zipped(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/", b"")
        archive.writestr("folder/list.csv", content)
        archive.writestr("__MACOSX/folder/._list.csv", b"a Mac's")
    return buffer.getvalue()


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstd,
    "zip": zipped,
    "none": bytes,
}


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("name", ["list.csv.{}", "LIST.CSV.GZ"])
def test_packed_whatever_its_name(tmp_path: Path, read: Any, packed: str, name: str) -> None:
    path = tmp_path / name.format(packed)
    path.write_bytes(PACKED[packed](LIST.encode()))
    assert read(format="csv", path=str(path))["text"].to_pylist() == ["ünï 🍕"]


TWICE = [(outer, inner) for outer in PACKED for inner in PACKED if (outer, inner) != ("zst", "zip")]
"""But for the one: a zip is read from its end, which Arrow's Zstandard cannot do."""


@pytest.mark.parametrize(("outer", "inner"), TWICE)
def test_packed_twice(tmp_path: Path, read: Any, outer: str, inner: str) -> None:
    (tmp_path / "list").write_bytes(PACKED[outer](PACKED[inner](LIST.encode())))
    assert read(format="csv", path=str(tmp_path / "list"))["text"].to_pylist() == ["ünï 🍕"]


def test_packed_again_and_again(tmp_path: Path, read: Any) -> None:
    content = LIST.encode()
    for layers in range(1, 12):
        content = gzip.compress(content)
        (tmp_path / "list").write_bytes(content)
        if layers <= 8:
            assert read(format="csv", path=str(tmp_path / "list")).num_rows == 1
    with pytest.raises(BrokenFileError, match="list is packed more than 8 times; unpack it"):
        read(format="csv", path=str(tmp_path / "list"))


def with_a_password(content: bytes) -> bytes:
    """Says that it is encrypted, in both of its headers."""
    found = bytearray(zipped(content))
    for start, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = found.find(start)
        while at >= 0:
            found[at + flags] |= 1
            at = found.find(start, at + 4)
    return bytes(found)


def with_an_odd_method(content: bytes) -> bytes:
    """Says that it is packed in a way that nobody knows."""
    found = bytearray(zipped(content))
    for start, method in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        at = found.find(start)
        while at >= 0:
            found[at + method] = 77
            at = found.find(start, at + 4)
    return bytes(found)


@pytest.mark.parametrize("odd", [with_a_password, with_an_odd_method])
def test_what_a_library_stumbles_over_is_a_broken_file(tmp_path: Path, source: Any, odd: Any) -> None:
    (tmp_path / "0.csv").write_bytes(odd(LIST.encode()))
    (tmp_path / "1.csv").write_text(LIST)
    both = source(format="csv", path=str(tmp_path / "*.csv"))
    check("web", both)
    first, second = find_parts("web", both)
    with pytest.raises(BrokenFileError, match=r"0\.csv cannot be read: (RuntimeError|NotImplementedError): "):
        list(Urls(UrlsRecipe(), UrlsRun())(first, Damage(first.place), Known(first.file)))
    assert len(list(Urls(UrlsRecipe(), UrlsRun())(second, Damage(second.place), Known(second.file)))) == 1


@pytest.mark.parametrize("packed", ["gz", "bz2", "xz", "zst"])
def test_cut_off(tmp_path: Path, read: Any, packed: str) -> None:
    lines = "".join(f"http://a.com/{number},{number}\n" for number in range(9_000))
    content = PACKED[packed](f"URL,TEXT\n{lines}".encode())
    (tmp_path / "list").write_bytes(content[:-30])
    with pytest.raises(UserError, match=r"list cannot be read: .*; is it complete\?"):
        read(format="csv", path=str(tmp_path / "list"))


@pytest.mark.parametrize("packed", PACKED)
def test_empty(tmp_path: Path, read: Any, packed: str) -> None:
    (tmp_path / "list").write_bytes(PACKED[packed](b""))
    with pytest.raises(UserError, match="list is empty; fetch it anew"):
        read(format="csv", path=str(tmp_path / "list"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends(tmp_path: Path, read: Any, encoding: str, end: str) -> None:
    mark = "\ufeff" if encoding in {"utf-16-le", "utf-16-be"} else ""
    (tmp_path / "list").write_bytes((mark + LIST.replace("\n", end)).encode(encoding))
    assert read(format="csv", path=str(tmp_path / "list"))["text"].to_pylist() == ["ünï 🍕"]


@pytest.mark.parametrize("first", ["sep=;", "sep=;\r", '"sep=;"', "SEP=;"])
def test_excels_first_line(tmp_path: Path, read: Any, first: str) -> None:
    (tmp_path / "list").write_text(f"\ufeff{first}\nURL;TEXT\nhttp://a.com/1.jpg;one, two\n", newline="")
    assert read(format="csv", path=str(tmp_path / "list"))["text"].to_pylist() == ["one, two"]


def test_an_archive_of_several_files_is_asked_about(tmp_path: Path, read: Any) -> None:
    with zipfile.ZipFile(tmp_path / "list.zip", "w") as archive:
        archive.writestr("a.csv", LIST)
        archive.writestr("b.csv", LIST)
    with pytest.raises(UserError, match=r"list\.zip holds 2 files; unpack it and name the one"):
        read(format="csv", path=str(tmp_path / "list.zip"))
    with tarfile.open(tmp_path / "list.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a.csv"))
    with pytest.raises(UserError, match=r"list\.tar\.gz holds no \.json file"):
        read(format="csv", path=str(tmp_path / "list.tar.gz"))
