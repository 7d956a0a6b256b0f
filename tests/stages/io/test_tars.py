"""Tars are read to their end, or it is said that they have none; names are the same for whoever reads them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Collection
from pathlib import Path

import pytest

from stages.io import tars


def archive(mode: str = "w", *, names: tuple[str, ...] = ("a.jpg", "b.jpg", "c.jpg")) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=tarfile.GNU_FORMAT) as made:  # type: ignore[call-overload]
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 700
            made.addfile(member, io.BytesIO(name.encode("utf-8", "surrogateescape").ljust(700)))
    return buffer.getvalue()


def names(content: bytes, mode: tars.Mode) -> list[str]:
    with tars.open_tar(io.BytesIO(content), mode) as opened:
        return [member.name for member in tars.members(opened)]


def contents(opened: tarfile.TarFile, wanted: Collection[str]) -> dict[str, bytes]:
    return {found.name: found.read() for found in tars.files(opened, wanted)}


@pytest.mark.parametrize("mode", ["r:*", "r|*"])
@pytest.mark.parametrize("packed", ["w", "w:gz", "w:bz2", "w:xz"])
def test_whole_ones(mode: tars.Mode, packed: str) -> None:
    assert names(archive(packed), mode) == ["a.jpg", "b.jpg", "c.jpg"]
    assert names(archive()[: 3 * 1536 + 512], mode) == ["a.jpg", "b.jpg", "c.jpg"]  # one empty block is an end, too
    assert names(archive(names=()), mode) == []


WHOLE = archive()
BROKEN = {
    "within a file": WHOLE[:1600],
    "within the last file": WHOLE[: 3 * 1536 - 100],
    "between two files": WHOLE[: 2 * 1536],
    "within a header": WHOLE[: 2 * 1536 + 100],
    "before its end mark": WHOLE[: 3 * 1536],
    "a header of noise": WHOLE[:1536] + b"zzz" + WHOLE[1539:],
    "two put together": WHOLE + WHOLE,
    "empty": b"",
    "a web page": b"<!DOCTYPE html>" * 100,
    "half a gzip": archive("w:gz")[:-60],
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_ones(what: str) -> None:
    with pytest.raises((tarfile.ReadError, EOFError)) as told:
        names(BROKEN[what], "r:*")
    assert "\n" not in str(told.value)


def negative(content: bytes) -> bytes:
    """The second member says that it has fewer bytes than none."""
    header = bytearray(content[1536:2048])
    header[124:136] = b"\xff" * 12
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return content[:1536] + bytes(header) + content[2048:]


@pytest.mark.parametrize("what", [*sorted(BROKEN.keys() - {"within the last file", "before its end mark"}), "negative"])
def test_of_a_broken_one_what_lies_before_the_damage_is_read_and_the_rest_is_no_silent_loss(what: str) -> None:
    content = {**BROKEN, "negative": negative(WHOLE)}[what]
    found = list[str]()

    def read() -> None:
        with tars.open_tar(io.BytesIO(content), "r|*") as opened:
            for file in tars.files(opened, {"a.jpg", "c.jpg", "nothing.jpg"}):
                file.read()
                found.append(file.name)

    with pytest.raises(tarfile.ReadError):
        read()
    assert "c.jpg" not in found or what == "two put together"


def test_of_a_broken_one_that_has_all_that_is_wanted_nothing_more_is_asked() -> None:
    for content in (BROKEN["between two files"], negative(WHOLE)):
        with tars.open_tar(io.BytesIO(content), "r|*") as opened:
            assert list(contents(opened, {"a.jpg"})) == ["a.jpg"]
    with tars.open_tar(io.BytesIO(WHOLE), "r|*") as opened:
        assert contents(opened, {"nothing.jpg"}) == {}


def test_what_is_no_tar_is_shown() -> None:
    with pytest.raises(tarfile.ReadError, match="it is no tar: it begins with b'<!DOCTYPE html>"):
        names(BROKEN["a web page"], "r:*")


def test_a_name_that_is_no_utf8_finds_its_file_in_every_way_of_reading() -> None:
    content = archive(names=("caf\udce9.jpg", "ü.jpg"))
    for mode in ("r:", "r:*", "r|*"):
        with tars.open_tar(io.BytesIO(content), mode) as opened:
            found = contents(opened, {"caf\\xe9.jpg", "ü.jpg"})
        assert found == {"caf\\xe9.jpg": b"caf\xe9.jpg".ljust(700), "ü.jpg": "ü.jpg".encode().ljust(700)}


def test_of_several_files_of_one_name_the_first_counts_and_links_do_not(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as made:
        for name, kind, content in (
            ("x", tarfile.SYMTYPE, b""),
            ("x", tarfile.REGTYPE, b"first"),
            ("x", tarfile.REGTYPE, b"second"),
            ("y", tarfile.LNKTYPE, b""),
            ("z", tarfile.CHRTYPE, b""),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.size, member.linkname = kind, len(content), "x"
            made.addfile(member, io.BytesIO(content))
    with (tmp_path / "a.tar").open("rb") as file, tars.open_tar(file, "r|*") as opened:
        assert contents(opened, {"x", "y", "z"}) == {"x": b"first"}


@pytest.mark.parametrize(
    ("name", "stem", "packed"),
    [("a/0.tar", "a/0", False), ("0.TAR.GZ", "0", True), ("x.y.tgz", "x.y", True), ("0.tar.xz", "0", True)],
)
def test_endings(name: str, stem: str, packed: bool) -> None:
    assert tars.is_tar(name)
    assert (tars.stem(name), tars.is_packed(name)) == (stem, packed)
    assert not tars.is_tar(f"{name}.txt")
