"""One vocabulary: every text of the world becomes known tokens, and the end token is the highest."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.demo import tokenizer
from stages.demo.alt_text import SHARES, text_of_kind
from stages.demo.describe import describe
from stages.demo.scene import Place, Stream, Topic, generator, scene_at

UNHURRIED = settings(deadline=None, max_examples=60)
PLACES = [Place(2, Stream.WEB, index) for index in range(150)]


@pytest.fixture(scope="module")
def words():
    return tokenizer.build()


def test_the_special_tokens_have_their_numbers(words):
    named = ["[PAD]", "[UNK]", "[CLS]", "[MASK]", "[DEC]", "[ENC]"]
    assert words.convert_tokens_to_ids(named) == [
        tokenizer.PAD, tokenizer.UNK, tokenizer.CLS, tokenizer.MASK, tokenizer.DEC, tokenizer.ENC,
    ]  # fmt: skip
    assert words.sep_token_id == len(words) - 1


def test_descriptions_come_back_as_they_were(words):
    for place in PLACES:
        text = describe(scene_at(place), generator(place, Topic.TEXT))
        assert words.decode(words(text).input_ids, skip_special_tokens=True) == text


def test_prompt_and_description_fit_blips_twenty_tokens(words):
    for place in PLACES:
        text = describe(scene_at(place), generator(place, Topic.TEXT))
        assert len(words(f"a picture of {text}").input_ids) <= 20


def test_no_web_text_is_unknown(words):
    for kind in SHARES:
        for one, two in zip(PLACES[:50], PLACES[50:100], strict=True):
            text = text_of_kind(kind, scene_at(one), scene_at(two), generator(one, Topic.TEXT))
            assert words.unk_token_id not in words(text).input_ids


@UNHURRIED
@given(st.text())
def test_any_text_has_a_beginning_and_an_end(text):
    numbers = tokenizer.build()(text).input_ids
    assert numbers[0] == tokenizer.CLS
    assert numbers.count(max(numbers)) >= 1
    assert numbers[-1] == len(tokenizer.vocabulary()) - 1


def test_files_bring_it_back(words, tmp_path):
    tokenizer.save(words, tmp_path)
    again = type(words).from_pretrained(str(tmp_path))
    text = "IMG_0042.jpg a red circle, with a tiny heart"
    assert again(text).input_ids == words(text).input_ids
    assert (tmp_path / "vocab.txt").read_text().split("\n")[:-1] == tokenizer.vocabulary()
