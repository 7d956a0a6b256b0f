"""The incremental JSON reader gives what json.loads gives, whatever the chunks."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.errors import UserError
from stages.urls import json_stream
from stages.urls.json_stream import JsonStream

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
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


@pytest.mark.parametrize("text", ["", "{", "[1", "[1 2]", "[1,]", '["a', "[1}", "[tru]"])
def test_broken_text(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "CHUNK", 2)
    with pytest.raises(UserError, match="x, line 1: broken JSON"):
        list(JsonStream(io.StringIO(text), "x").array())


def test_a_value_without_end_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "CHUNK", 10)
    monkeypatch.setattr(json_stream, "LONGEST", 1_000)
    file = io.StringIO('["a' * 100_000)
    with pytest.raises(UserError, match="line 1: broken JSON"):
        list(JsonStream(file, "x").array())
    assert file.tell() < 10_000
