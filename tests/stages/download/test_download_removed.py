"""The removal list: its forms, what counts as the same address, and what a download makes of it."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback import Run, Web, encoded, picture

from stages import removals
from stages.download.urls import request_url
from stages.errors import UserError
from stages.removals import RemovalList, Removals, add_entries, column_of, is_entry, read_list, same_address

DIGEST = hashlib.sha256(b"x").hexdigest()
MD5 = hashlib.md5(b"x").hexdigest()
NAMES = [
    "list.txt",
    "list.parquet",
    "list.csv",
    "list.tsv",
    "list.jsonl",
    "list.csv.gz",
    "list.txt.zst",
    "LIST.NDJSON.gz",
]


def entries(path: Path | str) -> list[str]:
    found = read_list(str(path))
    assert found.odd == []
    return list(found.entries)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("begun", [False, True])
def test_a_list_is_begun_and_grows(tmp_path: Path, name: str, begun: bool) -> None:
    path = str(tmp_path / name)
    if begun and not name.endswith(".parquet"):
        Path(path).touch()  # an empty file is an empty list
        assert entries(path) == []
    first = ["http://x.test/a", DIGEST.upper(), "http://x.test/a", MD5]
    assert add_entries(path, first) == [first[0], first[1], MD5]
    assert add_entries(path, ["https://x.test/a#top", DIGEST, MD5.upper(), "http://x.test/b, c"]) == [
        "http://x.test/b, c"
    ]
    removals = Removals.of(entries(path))
    assert removals.has_url("http://X.test:80/a")
    assert removals.has_url("http://x.test/b,%20c")
    assert not removals.has_url("http://x.test/A")
    assert not removals.has_url(None)
    assert removals.has_content(DIGEST)
    assert removals.has_content(None, MD5)
    assert not removals.has_content(None, None)


def test_a_persons_file_keeps_its_comments_and_columns(tmp_path: Path) -> None:
    text = tmp_path / "list.txt"
    text.write_text("# letter of 3 May\n  http://x.test/a  \n\n# none\nhttp://x.test/b")
    add_entries(str(text), ["http://x.test/c"])
    assert text.read_text() == "# letter of 3 May\n  http://x.test/a  \n\n# none\nhttp://x.test/b\nhttp://x.test/c\n"
    table = tmp_path / "list.parquet"
    pq.write_table(pa.table({"URL": pa.array(["http://x.test/a", None], pa.large_string()), "asked": [1, 2]}), table)
    add_entries(str(table), ["http://x.test/c", MD5])
    assert pq.read_table(table).to_pydict() == {
        "URL": ["http://x.test/a", None, "http://x.test/c", None],
        "asked": [1, 2, None, None],
        "md5": [None, None, None, MD5],
    }
    lines = tmp_path / "list.csv"
    lines.write_text('\ufeffSAMPLE_ID;URL;TEXT\r\n5;http://x.test/a;"a ""b""; c"', encoding="utf-8")
    add_entries(str(lines), ["http://x.test/c"])
    assert lines.read_bytes().decode() == (
        '\ufeffSAMPLE_ID;URL;TEXT\r\n5;http://x.test/a;"a ""b""; c"\n;http://x.test/c;\n'
    )
    add_entries(str(lines), [DIGEST])
    with lines.open(newline="") as file:
        assert list(csv.reader(file, delimiter=";")) == [
            ["SAMPLE_ID", "URL", "TEXT", "sha256"],
            ["5", "http://x.test/a", 'a "b"; c', ""],
            ["", "http://x.test/c", "", ""],
            ["", "", "", DIGEST],
        ]


LAION = {"SAMPLE_ID": [7, 8, 9], "URL": ["http://x/a", "http://x/b,1", None], "TEXT": ['say "x"', "b", "c\nd"]}


@pytest.mark.parametrize("address", ["URL", "url", "Url", "image_url", "IMAGE_URL"])
@pytest.mark.parametrize("form", ["parquet", "csv", "tsv", "jsonl", "csv.gz"])
def test_a_list_may_be_cut_out_of_a_url_list(tmp_path: Path, form: str, address: str) -> None:
    columns = {address if name == "URL" else name: values for name, values in LAION.items()}
    columns |= {"Md5": [None, MD5.upper(), MD5], "SHA256": [DIGEST, None, None], "punsafe": [0.9, 1.0, 0.99]}
    path, rows = tmp_path / f"unsafe.{form}", list(zip(*columns.values(), strict=True))
    if form == "parquet":
        pq.write_table(pa.table(columns), path)
    elif form == "jsonl":
        path.write_text("".join(f"{json.dumps(dict(zip(columns, row, strict=True)))}\n" for row in rows))
    elif form == "tsv":
        cells = [[str(cell or "").replace("\n", " ") for cell in row] for row in rows]
        path.write_text("".join("\t".join(row) + "\n" for row in [list(columns), *cells]))
    else:
        text = io.StringIO()
        csv.writer(text).writerows([list(columns), *rows])
        path.write_bytes(gzip.compress(text.getvalue().encode()) if "gz" in form else text.getvalue().encode())
    assert sorted(entries(path)) == sorted(["http://x/a", "http://x/b,1", MD5.upper(), MD5, DIGEST])


@pytest.mark.parametrize(
    ("name", "content", "good", "odd"),
    [
        ("a.txt", b"http://x/1\n\n# no\nx.jpg\n  ftp://x/2 \r\nhttp://x/3", 2, "line 4 'x.jpg', line 5 'ftp://x/2'"),
        ("a.txt", b"\xef\xbb\xbfhttp://x/1\n" + MD5[1:].encode(), 1, f"line 2 '{MD5[1:]}'"),
        ("a.txt", b"http://x/\xe9\nhttp://x/\xc3\xa9", 1, r"line 1 'http://x/\udce9'"),
        ("a.csv", b'URL,TEXT\nhttp://x/1,"two\nlines"\nhttp://x/2,a,b\nhttp://x/3\n\nnone,\n', 2, "line 4 "),
        ("a.tsv", b'TEXT\tURL\n"odd\thttp://x/1\nb\thttp://x/2\n\xff\thttp://x/3\nc\tx', 3, "line 5 'x'"),
        ("a.jsonl", b'{"URL": "http://x/1"}\n{"url"\n{"text": "a"}\n"http://x/2"\n5', 2, "line 2 "),
        ("a.jsonl", b'{"url": "http://x/\\ud83d.jpg"}\n{"url": "http://x/2"}', 1, r"line 1 'http://x/\ud83d.jpg'"),
        ("a.jsonl", b"[" * 100_000 + b'\n{"url": "http://x/2"}', 1, "line 1 '[[["),
        ("a.txt", b"http://x/1 # asked for by X\nhttp://x/2 ; by Y\nhttp://x/3 by Z", 1, "line 2 'http://x/2 ; by Y'"),
        ("a.csv", b"url\nhttp://x/1 # by X\nhttp://x/2 ; by Y\nhttp://x/b c.jpg", 2, "line 3 'http://x/2 ; by Y'"),
    ],
)
def test_a_line_that_is_no_entry_is_told_and_costs_no_other(
    tmp_path: Path, name: str, content: bytes, good: int, odd: str
) -> None:
    (tmp_path / name).write_bytes(content)
    found = read_list(str(tmp_path / name))
    assert len(found.entries) == good
    assert all(map(is_entry, found.entries))
    (told,) = found.odd
    assert told.startswith(f"removed: {tmp_path / name}: neither an http(s) address nor a sum")
    assert odd in told
    assert told.isprintable()


def test_of_many_odd_lines_the_first_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x\n" * 1000)
    (told,) = read_list(str(tmp_path / "a.txt")).odd
    assert told.endswith("line 1 'x', line 2 'x', line 3 'x', line 4 'x', line 5 'x' and 995 more")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.txt", None, "no removal list"),
        ("list.parquet", b"no table", "is no Parquet table"),
        ("list.parquet", b"", "is no Parquet table"),
        ("list.txt", b"\xff\xfe\x00", "is no text file in UTF-8"),
        ("list.txt.gz", b"http://x/1", "is no gzip file"),
        ("list.csv.zst", b"http://x/1", "is no zstd file"),
        ("list.csv", b'URL,TEXT\nhttp://x/1,a\nhttp://x/2,"b\nhttp://x/3,c\n', "line 3: a quotation mark is opened"),
        ("list.csv", b"http://x/1\nhttp://x/2\n", "none of the columns url, image_url, sha256, md5, .* 'http://x/1'"),
        ("list.tsv", b"URL,TEXT\nhttp://x/1,a\n", "none of the columns"),
    ],
)
def test_a_list_that_cannot_be_read(tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words):
        read_list(str(tmp_path / name))


def test_a_remark_is_no_part_of_an_address_and_a_blank_in_a_cell_is(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(f"http://x/1.jpg # on request of X\n{MD5}\t# and of Y\nhttp://x/2.jpg#top\n#\n")
    assert entries(tmp_path / "a.txt") == ["http://x/1.jpg", MD5, "http://x/2.jpg#top"]
    (tmp_path / "a.csv").write_text("URL,TEXT\nhttp://x/1 2.jpg,a\nhttp://x/3.jpg # by X,b\n")
    removals = Removals.of(entries(tmp_path / "a.csv"))
    assert all(map(removals.has_url, ["http://x/1 2.jpg", "http://x/1%202.jpg", "http://x/3.jpg"]))
    (tmp_path / "a.txt").write_text("http://x/1.jpg on request of X\n")
    assert (
        read_list(str(tmp_path / "a.txt"))
        .odd[0]
        .endswith("write a blank within an address as %20, and a note behind ' #'")
    )


def test_bytes_that_are_no_text_cost_their_own_row(tmp_path: Path) -> None:
    raw = pa.array([b"http://x/\xe4", b"http://x/2"])
    texts = pa.Array.from_buffers(pa.string(), 2, raw.buffers())  # which says it is UTF-8, and is not
    sums = pa.array([hashlib.md5(b"x").digest(), None])
    for name, column in (("url", raw), ("url", texts), ("md5", sums), ("url", raw.dictionary_encode())):
        pq.write_table(pa.table({name: column, "sha256": [None, DIGEST]}), tmp_path / "a.parquet")
        found = read_list(str(tmp_path / "a.parquet"))
        assert found.entries == ((DIGEST, "http://x/2") if name == "url" else (DIGEST,))
        assert "row 1 " in found.odd[0]


@pytest.mark.parametrize("begin", ["\n", "\ufeff\n", "\r\n \r\n", ",,\n"])
def test_a_table_may_begin_with_empty_lines(tmp_path: Path, begin: str) -> None:
    path = tmp_path / "list.csv"
    path.write_text(f"{begin}URL,TEXT\nhttp://x/1,a\n\nx\n", newline="")
    found = read_list(str(path))
    assert found.entries == ("http://x/1",)
    assert f"line {begin.count(chr(10)) + 4} 'x'" in found.odd[0]
    add_entries(str(path), ["http://x/2", MD5])
    assert read_list(str(path)).entries == ("http://x/1", "http://x/2", MD5)


def test_a_column_may_have_any_name(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\u2028b,url\n1,http://x/1\n")
    assert entries(tmp_path / "a.csv") == ["http://x/1"]


def test_a_quotation_mark_means_nothing_in_a_tsv(tmp_path: Path) -> None:
    path = tmp_path / "list.tsv"
    path.write_text('TEXT\tURL\n5" nails\thttp://x/"1"\n')
    assert add_entries(str(path), ['http://x/"2"', MD5]) == ['http://x/"2"', MD5]
    assert path.read_text().splitlines() == [
        "TEXT\tURL\tmd5",
        '5" nails\thttp://x/"1"\t',
        '\thttp://x/"2"\t',
        f"\t\t{MD5}",
    ]


def test_a_list_that_is_not_there_is_none_that_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "removed.txt"
    listed = RemovalList(str(path))
    for _ in range(2):
        with pytest.raises(UserError, match="no removal list"):
            listed()
    path.write_text("http://x/1\n")  # it has come in sight
    assert listed().has_url("http://x/1")
    path.unlink()
    for _ in range(2):
        with pytest.raises(UserError, match="no removal list"):
            listed()
    path.write_text("")
    assert not listed()
    assert not RemovalList(None)()


def test_a_table_needs_one_of_the_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"link": ["http://x.test/a"], "TEXT": ["a"]}), tmp_path / "list.parquet")
    with pytest.raises(UserError, match=r"none of the columns url, .*, but link, TEXT"):
        read_list(str(tmp_path / "list.parquet"))


def test_columns_of_one_name_and_bytes_are_read_too(tmp_path: Path) -> None:
    columns = [pa.array(["http://x/1"]), pa.array([b"http://x/2"]), pa.array([MD5.encode()], pa.binary(32))]
    pq.write_table(pa.Table.from_arrays(columns, ["URL", "URL", "md5"]), tmp_path / "list.parquet")
    assert entries(tmp_path / "list.parquet") == ["http://x/1", "http://x/2", MD5]
    add_entries(str(tmp_path / "list.parquet"), ["http://x/3"])
    assert len(entries(tmp_path / "list.parquet")) == 4


@settings(deadline=None)
@given(st.text(max_size=30), st.text("htps:/.[]@%?#a0é ", max_size=20).map(lambda rest: f"http://x{rest}"))
def test_an_address_is_the_same_as_itself_in_every_spelling(text: str, url: str) -> None:
    same_address(text)  # whatever it is
    assert Removals.of([url]).has_url(url)
    assert same_address(url) == same_address(f"  {url} ")
    if request_url(url) is not None:
        assert same_address(url) == same_address(url.replace("http://x", "HTTPS://X", 1))


def test_entries() -> None:
    assert all(map(is_entry, ["http://x", "HTTPS://x/a%20b", DIGEST, DIGEST.upper(), MD5, MD5.upper()]))
    assert not any(map(is_entry, ["", "x.jpg", "ftp://x/", "http://", DIGEST[1:], f"{DIGEST}0", "http://x/\x1b"]))
    assert not any(map(is_entry, ["http://x/a b", "http://x/a\u3000b", "http://\udce9x/a", "http://x/\ud83d"]))
    assert [column_of(text) for text in (DIGEST, MD5.upper(), "a" * 40, "http://x")] == ["sha256", "md5", "url", "url"]


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_what_is_on_the_list_is_not_fetched_and_not_kept(web: Web, download: Run, tmp_path: Path, kind: str) -> None:
    same = encoded(picture(500, 400, seed=41))  # which is not stored as it came
    urls = [web.image(f"/{name}.jpg", same) for name in ("same", "again")]
    web.pages["/away"] = lambda handler: handler.answer(302, b"", {"Location": "/gone.jpg?a=b"})
    rows = [web.url("/gone.jpg?a=b"), web.url("/away"), *urls, web.url("/good.jpg")]
    listed = tmp_path / "removed.txt"
    listed.write_text(f"{rows[0]}\n{hashlib.new(kind, same).hexdigest().upper()}\n")
    output = download([{"url": url} for url in rows], run={"removed": str(listed)}, image_size=64)
    assert output.table["status"].to_pylist() == [*["removed"] * 4, "success"]
    assert web.hits["/gone.jpg"] == 0
    assert output.table["member"].to_pylist()[:4] == [None] * 4
    assert output.table[kind].to_pylist()[2:4] == [hashlib.new(kind, same).hexdigest()] * 2
    with tarfile.open(output.sides["tar"]) as tar:
        assert tar.getnames() == [f"s-0-0004.{ending}" for ending in ("jpg", "txt", "json")]


def test_nothing_is_fetched_where_the_list_is_not_seen(web: Web, download: Run, tmp_path: Path) -> None:
    url = web.image("/unseen.jpg", encoded(picture(seed=43)))
    with pytest.raises(UserError, match=r"no removal list \S+ on \S+; write one"):
        download([{"url": url}], run={"removed": str(tmp_path / "removed.txt")})
    assert web.hits["/unseen.jpg"] == 0


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_images_at_hand_are_looked_up_as_well(tmp_path: Path, download: Run, kind: str) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.jpg").write_bytes(encoded(picture(seed=number)))
    listed = tmp_path / "removed.txt"
    listed.write_text(f"https://x.test/0\n{hashlib.new(kind, (folder / '1.jpg').read_bytes()).hexdigest()}\n")
    rows = [{"file": f"{number}.jpg", "url": f"http://x.test/{number}"} for number in range(3)]
    output = download(rows, images=str(folder), run={"removed": str(listed)})
    assert output.table["status"].to_pylist() == ["removed", "removed", "success"]
    with tarfile.open(folder / "old.tar", "w") as tar:
        for number in range(3):
            tar.add(folder / f"{number}.jpg", f"{number}.jpg")
    rows = [{**row, "file": f"old.tar/{row['file']}"} for row in rows]
    output = download(rows, images=str(folder), run={"removed": str(listed), "packed": True})
    assert output.table["status"].to_pylist() == ["removed", "removed", "success"]


def test_the_sums_of_the_bytes_as_they_came_are_kept(web: Web, download: Run, tmp_path: Path) -> None:
    content = encoded(picture(500, 400, seed=42), "PNG")
    packed = web.image("/packed", gzip.compress(content), Content_Encoding="gzip")
    (tmp_path / "1.png").write_bytes(content)
    rows = [{"url": web.image("/plain", content)}, {"url": packed}, {"file": "1.png"}]
    output = download(rows, images=str(tmp_path), image_size=64)
    expected = {kind: hashlib.new(kind, content).hexdigest() for kind in ("sha256", "md5")}
    assert output.table.select(list(expected)).to_pylist() == [expected] * 3
    with tarfile.open(output.sides["tar"]) as tar:
        described = [json.load(tar.extractfile(name)) for name in tar.getnames() if name.endswith(".json")]
    assert [{kind: found[kind] for kind in expected} for found in described] == [expected] * 3


def test_two_that_write_one_list_at_once_lose_nothing(tmp_path, monkeypatch):
    url = str(tmp_path / "removed.txt")
    add_entries(url, ["http://h/0"])
    write, between = removals.write_whole, iter([True])

    def overtaken(place: str, content: bytes) -> None:
        write(place, content)
        if next(between, False):  # another command had read the list before
            write(place, b"http://h/0\nhttp://h/other\n")

    monkeypatch.setattr(removals, "write_whole", overtaken)
    assert add_entries(url, ["http://h/1"]) == ["http://h/1"]
    assert read_list(url).entries == ("http://h/0", "http://h/other", "http://h/1")
