"""Rows of delimited text: what a CSV reader reads where quotes balance, and all other rows where one does not."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.urls import delimited
from stages.urls.damage import Damage
from stages.urls.delimited import Dialect, Rows
from stages.urls.lines import numbered_lines

TEXT = st.text("a,\" \n\r;'", max_size=8)
CSV = Dialect(",", '"')
TSV = Dialect("\t", "")


def read(text: str, dialect: Dialect, *, width: int | None = None, address: int | None = None) -> tuple[list, Damage]:
    damage = Damage("x")
    rows = Rows(numbered_lines(io.StringIO(text, newline="\n"), damage), dialect, damage)
    rows.width, rows.address = width, address
    return list(rows), damage


def written(rows: list[list[str]], quoting: int) -> str:
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator="\r\n", quoting=quoting).writerows(rows)
    return file.getvalue()


@settings(deadline=None, max_examples=60)
@given(texts=st.lists(st.tuples(TEXT, TEXT), max_size=6), quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
def test_what_balances_is_read_as_by_the_standard_library(texts: list[tuple[str, str]], quoting: int) -> None:
    text = written([[one, f"http://a.com/{at}", two] for at, (one, two) in enumerate(texts)], quoting)
    found, damage = read(text, CSV, width=3, address=1)
    assert [fields for _, fields in found] == list(csv.reader(io.StringIO(text, newline="")))
    assert not damage.words


@settings(deadline=None, max_examples=60)
@given(data=st.data(), address=st.integers(0, 2))
def test_a_quote_that_nothing_closes_costs_its_own_line(data: st.DataObject, address: int) -> None:
    def row(number: int, text: str) -> list[str]:
        fields = [text, "9"]
        fields.insert(address, f"http://a.com/{number}")
        return fields

    texts = data.draw(st.lists(TEXT, min_size=2, max_size=6))
    rows = [row(number, text) for number, text in enumerate(texts)]
    number = data.draw(st.integers(0, len(rows)))
    plain = data.draw(st.text("ab ;'", max_size=5))
    records = [written([each], csv.QUOTE_MINIMAL) for each in rows]
    records.insert(number, ",".join(row(99, f'"{plain}')) + "\r\n")
    found, damage = read("".join(records), CSV, width=3, address=address)
    assert [fields for _, fields in found] == rows
    assert damage.counts == {"left_out": 1}


@pytest.mark.parametrize(
    ("lines", "left_out", "rows"),
    [
        (["http://a/1,one", 'http://a/2,"two', "http://a/3,three", 'http://a/4,four"', "http://a/5,five"], [2], 4),
        (['http://a/1,"one', 'http://a/2,two"', "http://a/3,three"], [1], 2),
        (["http://a/1,one", 'http://a/2,"two', *(f"http://a/{at},x" for at in range(3, 40))], [2], 38),
        (['http://a/1,"one', 'http://a/2,"two, three"'], [1], 1),
        (['http://a/1,"one" two', "http://a/2,two"], [1], 1),
        (["http://a/1,one", 'http://a/2,"two'], [2], 1),
        (['"http://a/1,one', "http://a/2,two"], [1], 1),
        (["http://a/1", "http://a/2,two,three", "http://a/3,three"], [1, 2], 1),
        (['http://a/1,a 12" pizza', 'http://a/2,"', 'http://a/3,""'], [2], 2),
        (['http://a/1,"two', "lines", 'and ""more"""', "http://a/4,four"], [], 2),
        (['http://a/1,"see', "http://b.com/", 'for more"', "http://a/4,four"], [], 2),
        (["", "http://a/1,one", "  ", "http://a/2,two", ""], [], 2),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_line_that_is_wrong_is_left_out(lines: list[str], left_out: list[int], rows: int, end: str) -> None:
    found, damage = read("".join(f"{line}{end}" for line in lines), CSV, width=2, address=0)
    assert len(found) == rows
    assert damage.counts.get("left_out", 0) == len(left_out)
    assert not left_out or f"(first line {left_out[0]}: " in damage.words


def test_the_address_may_come_last() -> None:
    lines = ["one,http://a/1", '"two,http://a/2', 'three",http://a/3', '"four', '4",http://a/4']
    found, damage = read("\n".join(lines), CSV, width=2, address=1)
    assert [fields for _, fields in found] == [
        ["one", "http://a/1"],
        ['three"', "http://a/3"],
        ["four\n4", "http://a/4"],
    ]
    assert "first line 2: an opening quote that would take whole rows along" in damage.words


def test_without_quoting_a_line_is_a_row() -> None:
    text = 'a\t"open\nb\tclose"\nc\t"both"\nd\ta\rb\ne\tf\tg\n'
    found, damage = read(text, TSV, width=2)
    assert found == [(1, ["a", '"open']), (2, ["b", 'close"']), (3, ["c", '"both"']), (4, ["d", "a\rb"])]
    assert damage.words == "x: left out: 1 (first line 5: 3 fields in place of 2)"


def test_a_quoted_row_has_bounded_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "LONGEST", 100)
    found, damage = read('1,"' + "long\n" * 50 + '"\n2,x\n', CSV, width=2)
    assert [fields for _, fields in found] == [["2", "x"]]
    assert damage.counts == {"left_out": 51}


def test_a_line_that_is_too_long_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from stages.urls import lines

    monkeypatch.setattr(lines, "LONGEST", 10)
    damage = Damage("x")
    file = io.StringIO("a" * 35 + "\nb\n" + "c" * 10 + "\n" + "d" * 9 + "\n", newline="\n")
    assert list(numbered_lines(file, damage)) == [(2, "b\n"), (4, "d" * 9 + "\n")]
    assert damage.counts == {"left_out": 2}
