"""Scenes are what their place says, apart from each other and inside the frame."""

import math
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from stages.demo.scene import RADII, Place, Relation, Scene, Stream, frame, holds, relation, scene_at

UNHURRIED = settings(deadline=None, max_examples=60)

places = st.builds(Place, st.integers(0, 50), st.sampled_from(Stream), st.integers(0, 10**6))


@UNHURRIED
@given(places)
def test_a_scene_follows_from_its_place(place):
    assert scene_at(place) == scene_at(place)


def test_seeds_streams_and_numbers_give_other_scenes():
    start = Place(0, Stream.WEB, 0)
    others = [Place(1, Stream.WEB, 0), Place(0, Stream.WEB, 1), *(Place(0, s, 0) for s in Stream if s != Stream.WEB)]
    assert scene_at(start) not in [scene_at(place) for place in others]


@UNHURRIED
@given(places)
def test_shapes_are_inside_and_apart(place):
    scene = scene_at(place)
    width, height = frame(scene.aspect)
    assert 3 / 4 <= scene.aspect <= 4 / 3
    assert 1 <= len(scene.shapes) <= 3
    for number, shape in enumerate(scene.shapes):
        assert RADII[shape.size][0] <= shape.radius <= RADII[shape.size][1]
        assert shape.radius < shape.x * width < width - shape.radius
        assert shape.radius < shape.y * height < height - shape.radius
        for other in scene.shapes[:number]:
            apart = math.hypot((shape.x - other.x) * width, (shape.y - other.y) * height)
            assert apart > shape.radius + other.radius


@UNHURRIED
@given(places)
def test_a_relation_holds_and_its_inverse_does_not(place):
    shapes = scene_at(place).shapes
    for one, two in pairwise(shapes):
        said = relation(one, two)
        assert holds(one, said, two)
        assert not holds(two, said, one)
        assert holds(two, relation(two, one), one)
        assert {said, relation(two, one)} in ({Relation.LEFT, Relation.RIGHT}, {Relation.ABOVE, Relation.BELOW})


@UNHURRIED
@given(places)
def test_json_brings_the_scene_back(place):
    scene = scene_at(place)
    assert Scene.from_json(scene.to_json() | {"shapes": list(scene.to_json()["shapes"])}) == scene
