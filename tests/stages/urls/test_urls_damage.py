"""A damaged entry costs itself, in every format alike, and it is told which, why and how many."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.urls import lines as lines_module
from stages.urls.damage import Damage

A, B, C = (f"http://a.com/{letter}.jpg" for letter in "abc")
CUT = "cut \ud83d"
"""Half an emoji, which JSON can say and nothing can store."""
MENDED = "cut \ufffd"
URL_TEXT = {"url": "url", "text": "text"}


def lines(*objects: Any) -> str:
    return "\n".join(each if isinstance(each, str) else json.dumps(each) for each in objects)


def image(name: str, **more: Any) -> dict[str, Any]:
    return {"filename": name, "split": "train", "sentences": [{"raw": name}]} | more


LEFT_OUT: dict[str, tuple[dict[str, Any], str, str]] = {
    "csv": (URL_TEXT, f"url,text\n{A},a\n{B}\n{C},c\n", "line 3: 1 field in place of 2"),
    "csv quote": (URL_TEXT, f'url,text\n{A},a\n{B},"b\n{C},c\n', "line 3: an opening quote that would take whole rows"),
    "csv after": (URL_TEXT, f'url,text\n{A},a\n{B},"b" b\n{C},c\n', "line 3: text after a closing quote"),
    "csv tab": (URL_TEXT | {"delimiter": "\t"}, f"url\ttext\n{A}\ta\n{B}\tb\tb\n{C}\tc", "line 3: 3 fields in place"),
    "cc3m": ({}, f"a\t{A}\nb\nc\t{C}\n", "line 2: 1 field in place of 2"),
    "cc12m": ({}, f"{A}\ta\n{B}\tb\tb\n{C}\tc\n", "line 2: 3 fields in place of 2"),
    "jsonl": (URL_TEXT, lines({"url": A, "text": "a"}, "{", {"url": C, "text": "c"}), "line 2: broken JSON"),
    "jsonl list": (URL_TEXT, lines({"url": A, "text": "a"}, [1], {"url": C, "text": "c"}), "line 2: no JSON object"),
    "json": ({}, json.dumps([{"url": A, "caption": "a"}, None, {"url": C, "caption": "c"}]), "entry 2: no object"),
    "json escape": (
        {},
        r'[{"url":"AA","caption":"a"},{"caption":"\x"},{"url":"CC","caption":"c"}]'.replace("AA", A).replace("CC", C),
        "entry 2",
    ),
    "sbu": (
        {},
        json.dumps({"image_urls": [A, B, C], "captions": ["a", "~", "c"]}).replace("~", "\\x"),
        "entry 2: broken JSON",
    ),
    "coco": (
        {"images": "http://a.com"},
        json.dumps({"images": [image("a.jpg"), image("b.jpg", sentences=None), image("c.jpg")]}),
        "image 2: no 'sentences'",
    ),
    "coco pairs": (
        {"images": "http://a.com"},
        json.dumps(
            [{"image": "a.jpg", "caption": "a.jpg"}, {"image": 5, "caption": "b"}, {"image": "c.jpg", "caption": ""}]
        ),
        "entry 2: 'image' is of another type",
    ),
    "vg": (
        {"images": "."},
        json.dumps([{"id": 1, "regions": []}, {"id": "2", "regions": []}, {"id": 3, "regions": []}]),
        "entry 2: 'id' is of another type",
    ),
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_a_damaged_entry_is_left_out(tmp_path: Path, read_damaged: Any, case: str) -> None:
    settings, content, told = LEFT_OUT[case]
    path = tmp_path / "list"
    path.write_text(content, encoding="utf-8", newline="")
    table, damage = read_damaged(format=case.split(maxsplit=1)[0], path=str(path), **settings)
    places = [url or file for url, file in zip(table["url"].to_pylist(), table["file"].to_pylist(), strict=True)]
    assert places == (["VG_100K/1.jpg", "VG_100K/3.jpg"] if case == "vg" else [A, C])
    assert damage.counts == {"left_out": 1}
    assert damage.words.startswith(f"{path}: left out: 1 (first {told}")


REPLACED: dict[str, tuple[dict[str, Any], bytes]] = {
    "csv": (URL_TEXT, f"url,text\n{A},a\n{B},cut ".encode() + b"\xe9\n"),
    "cc12m": ({}, f"{A}\ta\n{B}\tcut ".encode() + b"\0\n"),
    "jsonl": (URL_TEXT, lines({"url": A, "text": "a"}, {"url": B, "text": CUT}).encode()),
    "json": ({}, json.dumps([{"url": A, "caption": "a"}, {"url": B, "caption": CUT}]).encode()),
    "json bytes": ({}, f'[{{"url":"{A}","caption":"a"}},{{"url":"{B}","caption":"cut '.encode() + b'\xe9"}]'),
    "sbu": ({}, json.dumps({"image_urls": [A, B], "captions": ["a", CUT]}).encode()),
    "coco": (
        {"images": "."},
        json.dumps([{"image": "a", "caption": "a"}, {"image": "b", "caption": ["b", CUT]}]).encode(),
    ),
    "vg": ({"images": "."}, json.dumps([{"id": 1, "regions": []}, {"id": 2, "regions": [{"phrase": CUT}]}]).encode()),
}


@pytest.mark.parametrize("case", REPLACED)
def test_what_is_no_text_costs_its_place_in_the_text(tmp_path: Path, read_damaged: Any, case: str) -> None:
    settings, content = REPLACED[case]
    (tmp_path / "list").write_bytes(content)
    table, damage = read_damaged(format=case.split(maxsplit=1)[0], path=str(tmp_path / "list"), **settings)
    assert table.num_rows == 2
    texts = table["text"].to_pylist() + [text for texts in table["texts"].to_pylist() for text in texts or ()]
    assert MENDED in texts
    assert damage.counts == {"replaced": 1}
    assert f" {3 if case == 'csv' else 2}: in " in damage.words


def test_strings_of_parquet_files_are_looked_at(tmp_path: Path, read_damaged: Any) -> None:
    odd = pa.array([b"caf\xe9", b"b", None]).view(pa.string())
    columns = {
        "URL": pa.array([A, B, C]),
        "TEXT": odd,
        "tags": pa.ListArray.from_arrays([0, 1, 2, 3], odd),
        "parts": pa.StructArray.from_arrays([odd, pa.array([1, 2, 3])], ["name", "number"]),
        "raw": pa.array([b"\xe9", b"", None]),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    keep = ("tags", "parts", "raw")
    table, damage = read_damaged(format="laion", path=str(tmp_path / "a.parquet"), keep=keep)
    assert table["text"].to_pylist() == ["caf\ufffd", "b", None]
    assert table.select(keep).to_pylist()[:2] == [
        {"tags": ["caf\ufffd"], "parts": {"name": "caf\ufffd", "number": 1}, "raw": b"\xe9"},
        {"tags": ["b"], "parts": {"name": "b", "number": 2}, "raw": b""},
    ]
    assert damage.counts == {"replaced": 3}
    assert "(first row 1: in 'TEXT')" in damage.words


@pytest.mark.parametrize(
    ("value", "text", "emptied"),
    [
        ("5", "5", False),
        ("2.5", "2.5", False),
        ("null", None, False),
        ("NaN", None, False),
        ("1e999", None, False),
        ('["a", "b"]', None, True),
        ('{"a": 1}', None, True),
        ("true", None, True),
    ],
)
@pytest.mark.parametrize("form", ["json", "jsonl", "sbu"])
def test_captions_that_are_no_texts(
    tmp_path: Path, read_damaged: Any, form: str, value: str, text: str | None, emptied: bool
) -> None:
    entry = f'{{"url": "{A}", "caption": {value}}}'
    sbu = f'{{"image_urls": ["{A}"], "captions": [{value}]}}'
    (tmp_path / "list").write_text({"json": f"[{entry}]", "jsonl": entry, "sbu": sbu}[form])
    settings = {"url": "url", "text": "caption"} if form == "jsonl" else {}
    table, damage = read_damaged(format=form, path=str(tmp_path / "list"), **settings)
    assert table.select(["url", "text"]).to_pylist() == [{"url": A, "text": text}]
    assert damage.counts == ({"emptied": 1} if emptied else {})


def test_captions_of_people_that_are_no_texts(tmp_path: Path, read_damaged: Any) -> None:
    entries = [image("a.jpg", sentences=[{"raw": 5}, {"raw": None}, {}, "b", {"raw": "ok"}], cocoid="x")]
    (tmp_path / "list").write_text(json.dumps({"images": entries}))
    table, damage = read_damaged(format="coco", path=str(tmp_path / "list"), images=".", keep=("cocoid",))
    assert table.select(["texts", "cocoid"]).to_pylist() == [{"texts": ["5", "ok"], "cocoid": None}]
    assert damage.counts == {"emptied": 4}


def test_damage_is_told_by_number_and_in_words() -> None:
    damage = Damage("a.tsv")
    for number, line in damage.numbered("abcdefg", "line"):
        if line in "bd":
            damage.left_out(number, "wrong")
        if line == "e":
            damage.replaced(number, "text")
    assert damage.counts == {"left_out": 2, "replaced": 1}
    assert damage.words == (
        "a.tsv: left out: 2 (first line 2: wrong); "
        "texts with U+FFFD in place of what is no text: 1 (first line 5: in 'text')"
    )


@pytest.mark.parametrize(("entries", "damaged", "fails"), [(2, 1, False), (3, 2, True), (5_000, 501, True)])
def test_where_most_entries_are_damaged_the_format_is_wrong(entries: int, damaged: int, fails: bool) -> None:
    from stages.errors import BrokenFileError

    damage, reached = Damage("a.tsv"), 0

    def read() -> None:
        nonlocal reached
        for reached, _ in damage.numbered(range(entries), "line"):
            if reached <= damaged:
                damage.left_out(reached, "wrong")

    if not fails:
        read()
        return
    with pytest.raises(BrokenFileError, match=r"a\.tsv, line 1: wrong; .* are wrong: is this the format"):
        read()
    assert reached <= 1_000


def test_a_line_without_an_end_costs_itself_alone(
    tmp_path: Path, read_damaged: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of files whose lines belong together, too; and it is read in pieces, so that memory does not hold it."""
    longest: list[int] = []

    class Pieces(io.StringIO):
        def readline(self, size: int | None = -1, /) -> str:
            longest.append(-1 if size is None else size)
            return super().readline(size)

        __next__ = None  # type: ignore[assignment]

    monkeypatch.setattr(lines_module, "LONGEST", 40)
    found = list(lines_module.lines(Pieces("a" * 120 + "\nb\n", newline="\n")))
    assert found == [None, "b\n"]
    assert set(longest) == {40}
    (tmp_path / "x_urls.txt").write_text(f"{A}\nhttp://a.com/{'long' * 99}\n{B}\n")
    (tmp_path / "x_captions.txt").write_text("one\ntwo\nthree\n")
    table, damage = read_damaged(format="sbu", path=str(tmp_path / "x_urls.txt"))
    assert table.select(["url", "text"]).to_pylist() == [{"url": A, "text": "one"}, {"url": B, "text": "three"}]
    assert damage.counts == {"left_out": 1}
    (tmp_path / "cc3m").write_text(f"{'long' * 99}\t{A}\none\t{A}\ntwo\t{B}\n")
    table, damage = read_damaged(format="cc3m", path=str(tmp_path / "cc3m"))
    assert table["text"].to_pylist() == ["one", "two"]
    assert damage.counts == {"left_out": 1}
