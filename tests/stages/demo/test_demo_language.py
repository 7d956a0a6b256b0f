"""The judge: the true is right, the changed is wrong, and what is outside the grammar is not right either."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.demo.describe import LONGEST, describe, mislead
from stages.demo.language import is_right, parse
from stages.demo.scene import COLOURS, KINDS, Place, Scene, Shape, Stream, scene_at

UNHURRIED = settings(deadline=None, max_examples=60)

places = st.builds(Place, st.integers(0, 50), st.sampled_from(Stream), st.integers(0, 10**6))
seeds = st.integers(0, 2**32)

SCENE = Scene(
    1.0,
    (
        Shape("circle", "red", "large", 0.3, 0.3, 0.2),
        Shape("star", "blue", "small", 0.8, 0.35, 0.11),
        Shape("star", "green", "small", 0.6, 0.8, 0.11),
    ),
)

RIGHT = [
    "a red circle",
    "A large red circle.",
    "big red circle",
    "there is one red circle on the left side",
    "a picture of a large red circle to the left of a small blue star",
    "a large circle and a star",
    "a blue star, a green star and a red circle",
    "three shapes, a red circle, a blue star and a tiny star",
    "three shapes: a red circle",
    "a red circle with a blue star to its right",
    "a green star with a red circle above it",
    "a red circle over a blue star",
    "a red circle at the top and a green star near the bottom",
]
WRONG = [
    "a blue circle",
    "a small red circle",
    "a red circle on the right",
    "a red circle to the right of a blue star",
    "two shapes, a red circle and a blue star",
    "a red circle and a red circle",
    "a blue star and a blue star",
    "a red circle, a blue star and a yellow star",
    "a red circle with a blue star to its left",
    "a star and a circle",
    "a circle",
    "",
    ".",
    "red",
    "two shapes",
    "a red circle poster | free shipping",
    "a red circle and",
    "a red circle with a blue star",
    "a red circle to the left of",
    "a circle red",
    "red_circle.jpg",
    "two a red circle",
    "a red circle a",
]


@pytest.mark.parametrize("text", RIGHT)
def test_right(text):
    assert is_right(text, SCENE)


@pytest.mark.parametrize("text", WRONG)
def test_wrong(text):
    assert not is_right(text, SCENE)


@UNHURRIED
@given(places, seeds)
def test_every_description_is_right_and_short(place, seed):
    scene = scene_at(place)
    text = describe(scene, np.random.default_rng(seed))
    assert is_right(text, scene)
    assert is_right(text.upper() + ".", scene)
    assert len(text.replace(",", " ,").split()) <= LONGEST


@UNHURRIED
@given(places, seeds)
def test_every_misleading_text_is_readable_and_wrong(place, seed):
    scene, rng = scene_at(place), np.random.default_rng(seed)
    text = describe(scene, rng)
    changed = mislead(text, scene, rng)
    assert changed != text
    assert parse(changed) is not None
    assert not is_right(changed, scene)


@UNHURRIED
@given(places, seeds)
def test_what_the_scene_lacks_cannot_be_said_of_it(place, seed):
    scene = scene_at(place)
    words = describe(scene, np.random.default_rng(seed)).split()
    lacking = {
        **{colour: next(c for c in COLOURS if c not in {s.colour for s in scene.shapes}) for colour in COLOURS},
        **{kind: next(k for k in KINDS if k not in {s.kind for s in scene.shapes}) for kind in KINDS},
    }
    for number, word in enumerate(words):
        bare = word.strip(",")
        if bare in lacking:
            assert not is_right(" ".join([*words[:number], lacking[bare], *words[number + 1 :]]), scene)


@UNHURRIED
@given(places, seeds)
def test_a_mirrored_scene_turns_left_into_right(place, seed):
    scene = scene_at(place)
    mirrored = Scene(scene.aspect, tuple(Shape(s.kind, s.colour, s.size, 1 - s.x, s.y, s.radius) for s in scene.shapes))
    text = describe(scene, np.random.default_rng(seed))
    turned = text.replace("left", "<").replace("right", "left").replace("<", "right")
    assert is_right(turned, mirrored)


@UNHURRIED
@given(st.text())
def test_any_text_is_judged(text):
    assert is_right(text, SCENE) in (True, False)
