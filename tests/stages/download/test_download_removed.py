"""The removal list: its two forms, what counts as the same address, and what a download makes of it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback import Run, Web, encoded, picture

from stages.download.urls import request_url
from stages.errors import UserError
from stages.removals import Removals, add_entries, is_entry, read_entries, same_address

DIGEST = hashlib.sha256(b"x").hexdigest()


@pytest.mark.parametrize("name", ["list.txt", "list.parquet"])
def test_a_list_is_begun_and_grows(tmp_path: Path, name: str) -> None:
    path = str(tmp_path / name)
    assert add_entries(path, ["http://x.test/a", DIGEST.upper(), "http://x.test/a"]) == [
        "http://x.test/a",
        DIGEST.upper(),
    ]
    assert add_entries(path, ["https://x.test/a#top", DIGEST, "http://x.test/b c"]) == ["http://x.test/b c"]
    removals = Removals.of(read_entries(path))
    assert removals.has_url("http://X.test:80/a")
    assert removals.has_url("http://x.test/b%20c")
    assert not removals.has_url("http://x.test/A")
    assert not removals.has_url(None)
    assert removals.has_digest(DIGEST)
    assert not removals.has_digest(None)


def test_a_persons_file_keeps_its_comments_and_columns(tmp_path: Path) -> None:
    text = tmp_path / "list.txt"
    text.write_text("# letter of 3 May\n  http://x.test/a  \n\n# none\nhttp://x.test/b")
    add_entries(str(text), ["http://x.test/c"])
    assert text.read_text() == "# letter of 3 May\n  http://x.test/a  \n\n# none\nhttp://x.test/b\nhttp://x.test/c\n"
    table = tmp_path / "list.parquet"
    pq.write_table(pa.table({"url": ["http://x.test/a", None], "asked": [1, 2]}), table)
    add_entries(str(table), ["http://x.test/c"])
    assert pq.read_table(table).to_pydict() == {
        "url": ["http://x.test/a", None, "http://x.test/c"],
        "asked": [1, 2, None],
        "sha256": [None, None, None],
    }


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.txt", None, "no removal list"),
        ("list.parquet", b"no table", "is no Parquet table"),
        ("list.txt", b"\xff\xfe\x00", "is no text file in UTF-8"),
    ],
)
def test_a_list_that_cannot_be_read(tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words):
        read_entries(str(tmp_path / name))


def test_a_table_needs_one_of_the_two_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"URL": ["http://x.test/a"]}), tmp_path / "list.parquet")
    with pytest.raises(UserError, match="neither a column 'url' nor a column 'sha256'"):
        read_entries(str(tmp_path / "list.parquet"))


@settings(deadline=None)
@given(st.text(max_size=30), st.text("htps:/.[]@%?#a0é ", max_size=20).map(lambda rest: f"http://x{rest}"))
def test_an_address_is_the_same_as_itself_in_every_spelling(text: str, url: str) -> None:
    same_address(text)  # whatever it is
    assert Removals.of([url]).has_url(url)
    assert same_address(url) == same_address(f"  {url} ")
    if request_url(url) is not None:
        assert same_address(url) == same_address(url.replace("http://x", "HTTPS://X", 1))


def test_entries() -> None:
    assert all(map(is_entry, ["http://x", "HTTPS://x/a", DIGEST, DIGEST.upper()]))
    assert not any(map(is_entry, ["", "x.jpg", "ftp://x/", "http://", DIGEST[1:], f"{DIGEST}0"]))


def test_what_is_on_the_list_is_not_fetched_and_not_kept(web: Web, download: Run, tmp_path: Path) -> None:
    same = encoded(picture(seed=41))
    urls = [web.image(f"/{name}.jpg", same) for name in ("same", "again")]
    web.pages["/away"] = lambda handler: handler.answer(302, b"", {"Location": "/gone.jpg?a=b"})
    rows = [web.url("/gone.jpg?a=b"), web.url("/away"), *urls, web.url("/good.jpg")]
    listed = tmp_path / "removed.txt"
    listed.write_text(f"{rows[0]}\n{hashlib.sha256(same).hexdigest()}\n")
    output = download([{"url": url} for url in rows], run={"removed": str(listed)})
    assert output.table["status"].to_pylist() == [*["removed"] * 4, "success"]
    assert web.hits["/gone.jpg"] == 0
    assert output.table["member"].to_pylist()[:4] == [None] * 4
    assert same not in output.sides["tar"].read_bytes()


def test_images_at_hand_are_looked_up_as_well(tmp_path: Path, download: Run) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.jpg").write_bytes(encoded(picture(seed=number)))
    listed = tmp_path / "removed.txt"
    listed.write_text(f"https://x.test/0\n{hashlib.sha256((folder / '1.jpg').read_bytes()).hexdigest()}\n")
    rows = [{"file": f"{number}.jpg", "url": f"http://x.test/{number}"} for number in range(3)]
    output = download(rows, images=str(folder), run={"removed": str(listed)})
    assert output.table["status"].to_pylist() == ["removed", "removed", "success"]
