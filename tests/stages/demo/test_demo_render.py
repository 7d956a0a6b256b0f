"""Files are the same every time, of the kind and size that they are said to be, and show the shapes."""

import io

import numpy as np
import pytest
from PIL import Image

from stages.demo.render import FORMATS, PAINT, form_at, opened, render, rendered_at
from stages.demo.scene import COLOURS, KINDS, Place, Scene, Shape, Stream

PLACES = [Place(5, Stream.TEST, index) for index in range(60)]


def test_every_format_comes_up_and_is_what_it_says():
    seen = set()
    for place in PLACES:
        picture = rendered_at(place)
        image = Image.open(io.BytesIO(picture.data))
        assert picture.form == form_at(place)
        assert image.format == FORMATS[picture.form.extension]
        assert image.size == (picture.form.width, picture.form.height)
        assert 96 <= min(image.size) <= 320
        assert 0.74 < image.width / image.height < 1.35
        seen.add(picture.form.extension)
    assert seen == set(FORMATS)


def test_the_same_place_gives_the_same_bytes():
    assert [rendered_at(place).data for place in PLACES[:9]] == [rendered_at(place).data for place in PLACES[:9]]


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_shape_is_painted_where_it_lies_and_nowhere_else(kind, colour):
    scene = Scene(1.0, (Shape(kind, colour, "large", 0.3, 0.6, 0.2),))
    data = render(scene, np.random.default_rng(1)).data
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB").resize((100, 100)), dtype=int)
    painted = np.abs(pixels - PAINT[colour]).max(axis=-1) < 50
    rows, columns = np.nonzero(painted)
    assert painted.sum() > 200
    assert rows.min() >= 38
    assert rows.max() <= 82
    assert columns.min() >= 8
    assert columns.max() <= 52


def test_a_picture_opens_as_rgb():
    assert opened(PLACES[0]).mode == "RGB"
