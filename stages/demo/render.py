"""Scene -> the bytes of an image file, as a web server would have it: JPEG, PNG or WebP, of many sizes.

Shapes are drawn twice too large and scaled down, so that small ones keep their outline.
"""

import io
import math
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from stages.demo.scene import Place, Scene, Shape, Topic, frame, generator, scene_at
from stages.pictures import decode

OVERSAMPLING = 2
SHORTER_SIDE = (96, 320)
FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}
FORMAT_SHARES = (0.7, 0.15, 0.15)
PAINT = {
    "red": (205, 30, 35),
    "orange": (240, 130, 20),
    "yellow": (245, 225, 50),
    "green": (35, 150, 60),
    "blue": (35, 75, 205),
    "purple": (115, 40, 160),
    "pink": (250, 130, 185),
    "black": (20, 20, 22),
}
UNIT_POLYGONS = {
    "square": [(-0.71, -0.71), (0.71, -0.71), (0.71, 0.71), (-0.71, 0.71)],
    "triangle": [(0.0, -1.0), (0.87, 0.5), (-0.87, 0.5)],
    "diamond": [(0.0, -1.0), (0.75, 0.0), (0.0, 1.0), (-0.75, 0.0)],
    "star": [
        (reach * math.sin(step * math.pi / 5), -reach * math.cos(step * math.pi / 5))
        for step, reach in enumerate((1.0, 0.42) * 5)
    ],
    "cross": [
        (x, y)
        for x, y in zip(
            (-0.3, 0.3, 0.3, 0.95, 0.95, 0.3, 0.3, -0.3, -0.3, -0.95, -0.95, -0.3),
            (-0.95, -0.95, -0.3, -0.3, 0.3, 0.3, 0.95, 0.95, 0.3, 0.3, -0.3, -0.3),
            strict=True,
        )
    ],
    "heart": [
        (math.sin(t) ** 3, -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 17)
        for t in np.linspace(0, 2 * math.pi, 48, endpoint=False)
    ],
}


class Form(NamedTuple):
    """What an image file is like before anything is drawn."""

    extension: str
    width: int
    height: int


class Rendered(NamedTuple):
    """An image file."""

    data: bytes
    form: Form


def rendered_at(place: Place) -> Rendered:
    """The image file of a picture of the world."""
    return render(scene_at(place), generator(place, Topic.PIXELS))


def opened(place: Place) -> Image.Image:
    """The picture as one gets it back from its file."""
    return decode(rendered_at(place).data)


def form_at(place: Place) -> Form:
    """The form alone: it is the first thing that the picture's generator decides."""
    return _form(scene_at(place), generator(place, Topic.PIXELS))


def render(scene: Scene, rng: np.random.Generator) -> Rendered:
    """Draw a scene and write it in one of the formats."""
    form = _form(scene, rng)
    image = _background(form.width * OVERSAMPLING, form.height * OVERSAMPLING, rng)
    for shape in scene.shapes:
        _draw(image, shape, rng)
    image = image.resize((form.width, form.height), Image.Resampling.BOX)
    quality = {} if form.extension == "png" else {"quality": int(rng.integers(75, 96))}
    buffer = io.BytesIO()
    image.save(buffer, FORMATS[form.extension], **quality)
    return Rendered(buffer.getvalue(), form)


def _form(scene: Scene, rng: np.random.Generator) -> Form:
    extension = str(rng.choice(list(FORMATS), p=FORMAT_SHARES))
    shorter = int(rng.integers(SHORTER_SIDE[0], SHORTER_SIDE[1] + 1))
    width, height = frame(scene.aspect)
    return Form(extension, round(width * shorter), round(height * shorter))


def _background(width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """A pale muted colour, on two pictures of three with a soft cloudiness."""
    base = rng.uniform(165, 235) + rng.uniform(-14, 14, 3)
    clouds = int(rng.integers(0, 3))
    grain = rng.normal(0, 7 * clouds, (5, 5, 1)) + rng.normal(0, 2 * clouds, (5, 5, 3))
    tile = np.clip(base + grain, 0, 255).astype(np.uint8)
    return Image.fromarray(tile).resize((width, height), Image.Resampling.BILINEAR)


def _draw(image: Image.Image, shape: Shape, rng: np.random.Generator) -> None:
    draw = ImageDraw.Draw(image)
    paint = tuple(int(np.clip(part + rng.uniform(-12, 12), 0, 255)) for part in PAINT[shape.colour])
    x, y, radius = shape.x * image.width, shape.y * image.height, shape.radius * min(image.size)
    box = (x - radius, y - radius, x + radius, y + radius)
    if shape.kind == "circle":
        draw.ellipse(box, fill=paint)
    elif shape.kind == "ring":
        draw.ellipse(box, outline=paint, width=round(radius * 0.42))
    else:
        draw.polygon([(x + radius * dx, y + radius * dy) for dx, dy in UNIT_POLYGONS[shape.kind]], fill=paint)
