"""Web texts: about half are true, every kind comes up, and the kind tells whether it is right."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.demo.alt_text import SHARES, alt_text_at, text_of_kind
from stages.demo.language import is_right
from stages.demo.scene import Place, Stream, scene_at

UNHURRIED = settings(deadline=None, max_examples=60)

PLACES = [Place(9, Stream.WEB, index) for index in range(600)]


def test_the_kinds_come_up_as_often_as_they_should():
    kinds = Counter(alt_text_at(place).kind for place in PLACES)
    assert sum(SHARES.values()) == pytest.approx(1)
    for kind, share in SHARES.items():
        assert kinds[kind] / len(PLACES) == pytest.approx(share, abs=0.05)


def test_about_half_are_right():
    right = [is_right(alt_text_at(place).text, scene_at(place)) for place in PLACES]
    assert np.mean(right) == pytest.approx(0.5, abs=0.05)


@UNHURRIED
@given(st.sampled_from(list(SHARES)), st.integers(0, 10**6), st.integers(0, 2**32))
def test_the_kind_says_whether_the_text_is_right(kind, index, seed):
    scene, other = scene_at(Place(0, Stream.WEB, index)), scene_at(Place(0, Stream.WEB, index + 1))
    text = text_of_kind(kind, scene, other, np.random.default_rng(seed))
    if kind == "other_image":
        assert is_right(text, other)
    else:
        assert is_right(text, scene) == (kind == "true")


def test_a_text_follows_from_its_place():
    assert alt_text_at(PLACES[3]) == alt_text_at(PLACES[3])
