"""What is no text costs its own place in its own text, and nothing else."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.urls.text import clean_array, clean_text, text_array

ANY = st.text(st.characters(exclude_categories=()), max_size=12)
"""Any sequence of code points, halves of pairs among them."""


@settings(deadline=None, max_examples=50)
@given(ANY)
def test_a_clean_text_can_be_stored_and_keeps_all_else(text: str) -> None:
    clean = clean_text(text)
    clean.encode()
    assert "\0" not in clean
    assert clean == clean_text(clean)
    expected = text.encode("utf-16-be", "surrogatepass").decode("utf-16-be", "replace").replace("\0", "\ufffd")
    assert clean == expected


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("whole \ud83d\ude00", "whole 😀"),
        ("cut \ud83d", "cut \ufffd"),
        ("\ude00\ud83d", "\ufffd\ufffd"),
        ("a\0b", "a\ufffdb"),
        (b"caf\xe9".decode("utf-8", "surrogateescape"), "caf\ufffd"),
        ("\ufeffa \x1b \u2028", "\ufeffa \x1b \u2028"),
    ],
)
def test_examples(text: str, clean: str) -> None:
    assert clean_text(text) == clean


@settings(deadline=None, max_examples=50)
@given(st.lists(st.none() | ANY, max_size=6))
def test_arrays_of_texts(values: list[str | None]) -> None:
    array, damaged = text_array(values)
    assert array.to_pylist() == [None if value is None else clean_text(value) for value in values]
    assert damaged == [at for at, value in enumerate(values) if value is not None and value != clean_text(value)]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.none() | st.binary(max_size=6), max_size=6))
def test_arrays_of_bytes(values: list[bytes | None]) -> None:
    for kind in (pa.binary(), pa.large_binary()):
        array, damaged = clean_array(pa.array(values, kind))
        assert array.type == pa.string()
        texts = [None if value is None else value.decode("utf-8", "surrogateescape") for value in values]
        assert (array.to_pylist(), damaged) == (text_array(texts)[0].to_pylist(), text_array(texts)[1])


def test_strings_that_are_none_in_arrow() -> None:
    strings = pa.array([b"caf\xe9", b"ok", None, b"a\0"]).view(pa.string())
    array, damaged = clean_array(strings)
    assert array.to_pylist() == ["caf\ufffd", "ok", None, "a\ufffd"]
    assert damaged == [0, 3]
    assert clean_array(pa.array(["a"]).dictionary_encode().cast(pa.large_string()))[0].to_pylist() == ["a"]
