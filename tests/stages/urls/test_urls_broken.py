"""A file that cannot be read costs itself: the others of its source are what they would be without it."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.errors import UserError
from stages.urls.check import check
from stages.urls.compute import Urls
from stages.urls.damage import Damage
from stages.urls.known import Known
from stages.urls.parts import UNREADABLE, find_parts
from stages.urls.spec import UrlsRecipe, UrlsRun

ADDRESS = "http://a.com/1.jpg"
WEB_PAGE = b"<!DOCTYPE html><html><head><title>404 Not Found</title></head></html>\n" * 20


def parquet() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"URL": [ADDRESS] * 900, "TEXT": [str(number) for number in range(900)]}), buffer)
    return buffer.getvalue()


def tar(mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name in ("1.jpg", "1.txt", "2.jpg", "2.txt"):
            member = tarfile.TarInfo(name)
            member.size = 700
            archive.addfile(member, io.BytesIO(b"x" * 700))
    return buffer.getvalue()


def pairs() -> bytes:
    return json.dumps([{"image": "a.jpg", "caption": f"one {number}"} for number in range(99)]).encode()


LINES = b"".join(b"%d\t%s\n" % (number, ADDRESS.encode()) for number in range(9_000))
SBU = json.dumps({"image_urls": [ADDRESS] * 99, "captions": ["one"] * 99}).encode()
GOOD: dict[str, tuple[str, bytes]] = {
    "laion": ("parquet", parquet()),
    "parquet": ("parquet", parquet()),
    "cc3m": ("tsv.gz", gzip.compress(LINES)),
    "csv": ("csv.gz", gzip.compress(b"URL\tTEXT\n" + LINES)),
    "jsonl": ("jsonl.gz", gzip.compress(b'{"URL": "http://a.com/1.jpg", "TEXT": "one"}\n' * 999)),
    "sbu": ("json", SBU),
    "coco": ("json", pairs()),
    "vg": ("json", pairs()),
    "webdataset": ("tar", tar()),
}
MORE: dict[str, dict[str, str]] = {"csv": {"delimiter": "\t"}, "coco": {"images": "."}, "vg": {"images": "."}}


def damaged(good: bytes) -> dict[str, bytes]:
    return {"cut": good[: min(len(good) - 40, 5_000)], "empty": b"", "page": WEB_PAGE}


def rows(part: Any) -> int:
    return sum(table.num_rows for _, table in Urls(UrlsRecipe(), UrlsRun())(part, Damage(part.place), Known(part.file)))


@pytest.mark.parametrize("form", GOOD)
@pytest.mark.parametrize("damage", ["cut", "empty", "page"])
def test_a_broken_file_fails_by_name_and_the_others_are_read(
    tmp_path: Path, source: Callable[..., Any], form: str, damage: str
) -> None:
    ending, good = GOOD[form]
    for name in "bc":
        (tmp_path / f"{name}.{ending}").write_bytes(good)
    alone = find_parts("web", source(format=form, path=str(tmp_path / f"*.{ending}"), **MORE.get(form, {})))
    (tmp_path / f"a.{ending}").write_bytes(damaged(good)[damage])
    listed = source(format=form, path=str(tmp_path / f"*.{ending}"), **MORE.get(form, {}))
    check("web", listed)
    broken, *others = find_parts("web", listed)
    assert [part.digest for part in others] == [part.digest for part in alone]
    assert [rows(part) for part in others] == [rows(part) for part in alone]
    with pytest.raises(UserError, match=rf"/a\.{ending}") as told:
        rows(broken)
    assert "\n" not in str(told.value)


def test_what_is_the_matter_with_a_broken_file_changes_nothing_for_the_others(tmp_path: Path, source: Any) -> None:
    digests = []
    for content in (
        b"",
        WEB_PAGE,
        tar()[:1200],
        tar()[:1536],
        tar()[:-10240],
        tar() + tar(),
        tar()[:1024] + b"x" * 512,
    ):
        (tmp_path / "a.tar").write_bytes(content)
        (part,) = find_parts("web", source(format="webdataset", path=str(tmp_path)))
        digests.append(part.digest)
        assert f"{tmp_path / 'a.tar'} cannot be read: it " in part.broken or "unexpected end of data" in part.broken
    assert digests == [UNREADABLE] * 7


def test_a_file_that_may_not_be_read_or_is_a_link_to_nowhere(
    tmp_path: Path, source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "b.csv").write_text(f"URL,TEXT\n{ADDRESS},one\n")
    (tmp_path / "c.csv").symlink_to(tmp_path / "b.csv")
    (tmp_path / "d.csv").symlink_to(tmp_path / "nowhere")
    parts = find_parts("web", source(format="csv", path=str(tmp_path / "*.csv")))
    assert [part.digest == UNREADABLE for part in parts] == [False, False, True]
    assert "No such file" in parts[2].broken

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("stages.urls.digest.open_binary", refuse)
    parts = find_parts("web", source(format="csv", path=str(tmp_path / "b.csv")))
    assert parts[0].broken == f"{tmp_path / 'b.csv'} cannot be read: [Errno 13] Permission denied; is it complete?"
