"""The incremental JSON reader gives what json.loads gives, whatever the chunks."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.errors import UserError
from stages.urls import json_stream
from stages.urls.json_stream import JsonStream

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(values=st.lists(VALUES), chunk=st.integers(1, 9), indent=st.sampled_from([None, 0, 2]), raw=st.booleans())
def test_arrays(values: list[Any], chunk: int, indent: int | None, raw: bool) -> None:
    text = json.dumps(
        {"before": [[1], {}], "none": None, "wanted": values, "after": 1}, indent=indent, ensure_ascii=raw
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "CHUNK", chunk)
        assert list(JsonStream(io.StringIO(text), "x").array_of("wanted")) == values
        assert list(JsonStream(io.StringIO(json.dumps(values, indent=indent)), "x").array()) == values


@pytest.mark.parametrize("text", ["", "{", "[1", '["a', "[1}", "[tru", '["a"b", "c"]', '[{"a": 1}, {"a": "b'])
def test_broken_text(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "CHUNK", 2)
    with pytest.raises(UserError, match="x, line 1: broken JSON"):
        list(JsonStream(io.StringIO(text), "x").array())


GOOD = {"url": "http://a.com/1.jpg", "caption": "one, [two] {three}"}
BROKEN = [
    r"""{"url": "a", "caption": "it\'s"}""",
    '{"url": "a", "caption": }',
    '{"url": "a", "caption": None}',
    '{"url": "a", "caption": "b",}',
    '{"url": "a" "caption": "b"}',
    "{'url': 'a', 'caption': 'b'}",
    '{"url": "a", "caption": "say "hi" to"}',
    '{"url": "a", "caption": "5" tall"}',
    '{"url": "a", "caption": "b"',
    '{"url": "a", "capt',
    '{"url": "a", "deep": ' + "[" * 100_000 + "]" * 100_000 + "}",
    '{"url": "a", "long": ' + "9" * 5_000 + "}",
    "undefined",
    "",
]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda text: text[:30])
@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_broken_element_costs_itself(broken: str, place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "CHUNK", 50)
    elements = [json.dumps(GOOD | {"n": number}) for number in range(4)]
    elements.insert(place, broken)
    text = f"[{', '.join(elements)}]"
    if place == 4 and broken[-1:] not in "}d":  # whether the file was cut off there cannot be told
        with pytest.raises(UserError, match="broken JSON"):
            list(JsonStream(io.StringIO(text), "x").whole_array())
        return
    found = list(JsonStream(io.StringIO(text), "x").whole_array())
    if broken == "" and place == 4:
        assert found == [GOOD | {"n": number} for number in range(4)]
        return
    assert isinstance(found.pop(place), json_stream.Broken)
    assert found == [GOOD | {"n": number} for number in range(4)]


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_damaged_character_costs_no_element_without_a_word(data: st.DataObject) -> None:
    texts = data.draw(st.lists(st.text('ab"\\,{}[]: ', max_size=6), min_size=3, max_size=5))
    elements = [json.dumps({"url": f"http://a.com/{number}", "caption": text}) for number, text in enumerate(texts)]
    number = data.draw(st.integers(0, len(texts) - 1))
    at = data.draw(st.integers(0, len(elements[number])))
    damaged = (
        elements[number][:at]
        + data.draw(st.sampled_from(["", '"', "\\", "{", "}", "]", ","]))
        + elements[number][at + 1 :]
    )
    text = f"[{','.join([*elements[:number], damaged, *elements[number + 1 :]])}]"
    try:
        found = list(JsonStream(io.StringIO(text), "x").whole_array())
    except UserError:
        return
    lost = [element for element in map(json.loads, elements) if element not in found]
    assert len(lost) <= sum(not isinstance(value, dict) or value not in map(json.loads, elements) for value in found)


def test_what_json_does_not_have_is_null_and_control_characters_stay() -> None:
    text = '[NaN, {"a": [Infinity, -Infinity]}, "a\tb\x00"]'
    assert list(JsonStream(io.StringIO(text), "x").whole_array()) == [None, {"a": [None, None]}, "a\tb\x00"]


def test_a_list_in_an_object_never_ends_with_one_inside_an_element() -> None:
    images = [{"name": number, "texts": [{"raw": "a"}, {"raw": "b"}]} for number in range(3)]
    text = json.dumps({"images": images, "more": 1}).replace('"a"', '"a"a"', 1)
    with pytest.raises(UserError, match="broken JSON"):
        list(JsonStream(io.StringIO(text), "x").array_of("images"))


def test_a_value_without_end_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "CHUNK", 10)
    monkeypatch.setattr(json_stream, "LONGEST", 1_000)
    file = io.StringIO('["a' * 100_000)
    with pytest.raises(UserError, match="line 1: broken JSON"):
        list(JsonStream(file, "x").array())
    assert file.tell() < 10_000
