import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.models.blip.text import MAX_WORDS, clean


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("A Dog.", "a dog"),
        ('He said: "hi!" (twice) * # ; ~', "he said hi twice"),
        ("well-known, isn't it?", "well-known, isn't it?"),  # BLIP leaves these marks
        ("  a \t b\n\nc ", "a b c"),
        ("IMG_1234.jpg", "img_1234 jpg"),
        ("...!!!", ""),
        ("", ""),
    ],
)
def test_clean(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


def test_only_the_first_words_are_kept() -> None:
    words = [f"w{number}" for number in range(60)]
    assert clean(" ".join(words)).split() == words[:MAX_WORDS]
    assert clean(" ".join(words), max_words=50).split() == words[:50]


@given(st.text())
def test_what_is_clean_stays_as_it_is(text: str) -> None:
    cleaned = clean(text)
    assert clean(cleaned) == cleaned


@given(st.text(alphabet=string.printable), st.integers(1, 50))
def test_marks_capitals_and_spare_spaces_are_gone(text: str, words: int) -> None:
    cleaned = clean(text, words)
    assert not set(cleaned) & set('.!"()*#:;~' + string.ascii_uppercase)
    assert cleaned == " ".join(cleaned.split())
    assert len(cleaned.split()) <= words
